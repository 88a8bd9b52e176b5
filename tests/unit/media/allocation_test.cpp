// Pre-processing allocates nothing once it has seen a frame of the same shape.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "media_test_util.h"

namespace {
std::atomic<int> allocations{0};
}  // namespace

// The program's operator new, counted; the library's calls come here too.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace tome {
namespace {

TEST(SteadyState, AllocatesNothing) {
  for (const PixelFormat format : testing::kAllFormats) {
    const testing::OwnedFrame owned = testing::noise_frame(format, 321, 187, 3);
    auto spec = testing::plain_spec(64, 48, CropMode::kCenter, Interpolation::kBicubic);
    spec.resize_short = 70;
    std::vector<float> patches(3 * 64 * 48);
    const int before_first = allocations;
    preprocess_to_patches(owned.frame, spec, 16, patches.data());
    const int first = allocations - before_first;
    const int before = allocations;
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
