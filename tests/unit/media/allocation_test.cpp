// Pre-processing allocates nothing once it has seen a frame of the same shape.
#include <gtest/gtest.h>

#include <vector>

#include "allocations.h"
#include "media_test_util.h"

namespace tome {
namespace {

using testing::allocations;

TEST(SteadyState, AllocatesNothing) {
  for (const PixelFormat format : testing::kAllFormats) {
    const testing::OwnedFrame owned = testing::noise_frame(format, 321, 187, 3);
    auto spec = testing::plain_spec(64, 48, CropMode::kCenter, Interpolation::kBicubic);
    spec.resize_short = 70;
    std::vector<float> patches(3 * 64 * 48);
    const int64_t before_first = allocations;
    preprocess_to_patches(owned.frame, spec, 16, patches.data());
    const int64_t first = allocations - before_first;
    const int64_t before = allocations;
    for (int i = 0; i < 3; ++i) preprocess_to_patches(owned.frame, spec, 16, patches.data());
    EXPECT_EQ(allocations - before, 0) << testing::name_of(format);
    // The counter works: the first frame had at least its rows or its plan to make.
    if (format == PixelFormat::kRgb || format == PixelFormat::kNv12) {
      EXPECT_GT(first, 0) << testing::name_of(format);
    }
  }
}

}  // namespace
}  // namespace tome
