// What results of the C table should be, by the modules below the engine.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "c_api_fixture.h"
#include "engine/postprocess.h"
#include "media/preprocess.h"
#include "vit/model.h"

namespace tome::testing {

/// A picture as pre-processing takes it.
inline Frame media_frame(const Picture& picture) {
  Frame frame;
  frame.width = picture.width;
  frame.height = picture.height;
  frame.pixel_aspect = {picture.aspect_n, picture.aspect_d};
  frame.planes[0] = {picture.pixels.data(), int64_t{3} * picture.width, picture.pixels.size()};
  return frame;
}

/// The score of each class for one clip, of a frame or more, by `tiny`'s own forward.
inline std::vector<float> class_scores(const std::vector<Frame>& clip,
                                       const ForwardOptions& options = {},
                                       const Checkpoint& tiny = tiny_checkpoint()) {
  const ViTConfig& config = tiny.config;
  std::vector<at::Tensor> rows;
  for (const Frame& frame : clip) {
    rows.push_back(at::empty(
        {config.grid_rows() * config.grid_cols(), 3 * config.patch * config.patch}, at::kFloat));
    preprocess_to_patches(frame, tiny.preprocess, static_cast<int32_t>(config.patch),
                          rows.back().mutable_data_ptr<float>());
  }
  const VisionTransformer model(config, tiny.weights);
  const at::Tensor logits =
      model.forward(at::stack(rows).unsqueeze(0), options).logits.contiguous();
  return activate({logits.const_data_ptr<float>(), static_cast<size_t>(config.classes)},
                  tiny.activation);
}

inline std::vector<LabelScore> best_first(const std::vector<float>& scores) {
  return top_scores(scores, scores.size(), 0);
}

/// What should be said of pictures (one clip of them) with this r in each block.
inline std::vector<LabelScore> expected_scores(const std::vector<Picture*>& pictures, int64_t r) {
  std::vector<Frame> clip;
  for (const Picture* picture : pictures) clip.push_back(media_frame(*picture));
  ForwardOptions options;
  options.r.assign(3, r);
  return best_first(class_scores(clip, options));
}

inline void expect_scores(const TomeResult& result, const std::vector<LabelScore>& expected) {
  static const char* const kLabels[] = {"ant", "bee", "cow", "dog", "eel"};
  ASSERT_EQ(result.n_scores, expected.size());
  for (uint32_t i = 0; i < result.n_scores; ++i) {
    EXPECT_EQ(result.scores[i].id, expected[i].id);
    EXPECT_STREQ(result.scores[i].label, kLabels[expected[i].id]);
    EXPECT_NEAR(result.scores[i].score, expected[i].score, 1e-5);
  }
}

/// How far apart two answers are.
inline float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b.at(i)));
  return most;
}

}  // namespace tome::testing
