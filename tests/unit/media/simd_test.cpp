// Each instruction set gives the portable results to the bit, for every kernel, format and
// geometry.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>

#include "media/row_kernels.h"
#include "media_test_util.h"

namespace tome {
namespace {

using testing::kAllFormats;
using testing::name_of;
using testing::noise_frame;

class Simd : public ::testing::TestWithParam<SimdLevel> {
 protected:
  void SetUp() override {
    if (row_kernels(GetParam()) == nullptr) GTEST_SKIP() << "this processor lacks it";
  }
  void TearDown() override {
    for (const auto level : kSimdLevels) {
      use_simd_level(level);  // the last that there is: the best
    }
  }
};

TEST_P(Simd, GivesThePortableResults) {
  for (const PixelFormat format : kAllFormats) {
    uint32_t seed = 1;
    for (const auto& [width, height] :
         {std::pair{333, 187}, {64, 48}, {19, 23}, {1, 1}, {700, 30}, {21, 301}, {33, 8}}) {
      for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear,
                                       Interpolation::kBicubic, Interpolation::kLanczos}) {
        for (const auto crop : {CropMode::kCenter, CropMode::kSquash, CropMode::kBorder}) {
          testing::OwnedFrame owned = noise_frame(format, width, height, ++seed, 5);
          if (width > 20) owned.frame.region = {3, 1, width - 7, height - 2};
          auto spec = testing::plain_spec(45, 37, crop, interpolation);
          spec.resize_short = 40;
          spec.mean = {100.25F, 120.5F, 99.0F};
          spec.std = {57.0F, 58.0F, 59.5F};
          ASSERT_TRUE(use_simd_level(SimdLevel::kPortable));
          const std::vector<float> expected = testing::planes_of(owned.frame, spec);
          ASSERT_TRUE(use_simd_level(GetParam()));
          const std::vector<float> found = testing::planes_of(owned.frame, spec);
          ASSERT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0)
              << name_of(format) << " " << width << "x" << height << " interpolation "
              << static_cast<int>(interpolation) << " crop " << static_cast<int>(crop);
        }
      }
    }
  }
}

std::string name_of_level(const ::testing::TestParamInfo<SimdLevel>& info) {
  return row_kernels(info.param) != nullptr
             ? row_kernels(info.param)->name
             : "missing" + std::to_string(static_cast<int>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Levels, Simd,
                         ::testing::Values(SimdLevel::kAvx2, SimdLevel::kAvx512, SimdLevel::kVnni),
                         name_of_level);

// More geometries than the cache of plans holds, from several threads at once.
TEST(Threads, ShareThePlans) {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([thread, &wrong] {
      for (int round = 0; round < 3; ++round) {
        for (int size = 0; size < 24; ++size) {
          testing::OwnedFrame owned = noise_frame(PixelFormat::kI420, 30 + size, 40, 1);
          for (auto& plane : owned.storage) std::fill(plane.begin(), plane.end(), uint8_t{128});
          owned.frame.range = ColorRange::kFull;
          auto spec = testing::plain_spec(16, 16, CropMode::kCenter, Interpolation::kBilinear);
          spec.resize_short = 18;
          for (const float value : testing::planes_of(owned.frame, spec)) {
            if (std::abs(value - 128.0F) > 1e-3F) ++wrong[thread];
          }
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace tome
