// Splits by a patch's place in a clip whose frames are not square.
#include "merging/clip_grid.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "vit_fixtures.h"

namespace tome {
namespace {

constexpr int64_t kFrames = 5, kRows = 8, kCols = 4;

/// Of a patch token, prefix not counted, by the definition of the checkerboard.
int64_t parity(int64_t patch) {
  const int64_t t = patch / (kRows * kCols), y = patch / kCols % kRows, x = patch % kCols;
  return (t + y + x) % 2;
}

TEST(ClipGrid, ParityIsOfFramePlusRowPlusColumn) {
  const ClipGrid grid{kRows, kCols, GridParity::kCheckerboard};
  const ClipGrid by_frame{kRows, kCols, GridParity::kFrame};
  for (int patch = 0; patch < kFrames * kRows * kCols; ++patch) {
    EXPECT_EQ(grid.parity(patch), parity(patch)) << patch;
    EXPECT_EQ(by_frame.parity(patch), patch / (kRows * kCols) % 2) << patch;
  }
}

// Half of the patches are of each parity, so A is the even ones: each of them stays, or merges into
// an odd one.
TEST(ClipGrid, EvenPlacesOfACheckerboardMergeIntoOddOnes) {
  const c10::InferenceMode inference;
  ViTConfig config = testing::parity_config();
  config.image_height = kRows * config.patch;
  config.image_width = kCols * config.patch;
  const VisionTransformer model = testing::random_model(config);
  const at::Tensor clip = at::randn({1, 3, kFrames, config.image_height, config.image_width});
  ForwardOptions options;
  options.r = {40};
  options.partition = Partition::kCheckerboard;
  options.track_source = true;
  for (const bool plain : {true, false}) {
    options.plain = plain;
    const at::Tensor source = model.forward_pixels(clip, options).source;
    std::map<int64_t, std::array<int64_t, 2>> members;  // of each place, by parity
    for (int64_t patch = 0; patch < kFrames * kRows * kCols; ++patch) {
      ++members[source[0][1 + patch].item<int64_t>()][static_cast<size_t>(parity(patch))];
    }
    EXPECT_EQ(members.size(), static_cast<size_t>(kFrames * kRows * kCols - 40));
    for (const auto& [place, of_parity] : members) {
      if (of_parity[0] + of_parity[1] == 1) continue;
      EXPECT_EQ(of_parity[1], 1) << "place " << place << (plain ? ", operators" : ", kernels");
    }
  }
}

}  // namespace
}  // namespace tome
