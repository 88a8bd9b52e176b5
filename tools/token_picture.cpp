#include "token_picture.h"

#include <ATen/ATen.h>

#include <cmath>
#include <opencv2/imgproc.hpp>

namespace tome::cli {
namespace {

/// Of a token: hues a golden section apart, so that those of neighbouring numbers are far apart.
cv::Vec3b edge_colour(int64_t token) {
  constexpr double kGoldenSection = 0.6180339887, kHues = 180;
  const double turn = static_cast<double>(token) * kGoldenSection;
  const auto hue = static_cast<unsigned char>(kHues * (turn - std::floor(turn)));
  cv::Mat colour(1, 1, CV_8UC3, cv::Vec3b(hue, 220, 255));
  cv::cvtColor(colour, colour, cv::COLOR_HSV2BGR);
  return colour.at<cv::Vec3b>(0, 0);
}

/// int64 [T, H, W]: the token of each pixel.
at::Tensor token_of_pixels(const TokenMap& map) {
  return map.token.repeat_interleave(map.tubelet, 0)
      .repeat_interleave(map.patch, 1)
      .repeat_interleave(map.patch, 2);
}

/// int64 [highest number + 1]: the patches of each token.
at::Tensor patches_of_tokens(const TokenMap& map) { return map.token.reshape({-1}).bincount(); }

/// Bytes [T, H, W, 3]: the mean colour of tokens of several patches, the pixels of others.
at::Tensor fill_tokens(const at::Tensor& pixels, const at::Tensor& token, const at::Tensor& count) {
  const at::Tensor flat = token.reshape({-1});
  const at::Tensor colours = pixels.reshape({-1, 3}).to(at::kDouble);
  const at::Tensor sum = at::zeros({count.size(0), 3}, at::kDouble).index_add(0, flat, colours);
  const at::Tensor mean = sum / flat.bincount({}, count.size(0)).clamp_min(1).unsqueeze(1);
  const at::Tensor merged = count.gt(1).index_select(0, flat).unsqueeze(1);
  return at::where(merged, mean.index_select(0, flat), colours)
      .round()
      .to(at::kByte)
      .reshape(pixels.sizes());
}

/// Bool [T, H, W]: pixels of such tokens with another's pixel, or the frame's end, beside them.
at::Tensor edges_of(const at::Tensor& token, const at::Tensor& count) {
  using at::indexing::Slice;
  const int64_t height = token.size(1), width = token.size(2);
  const at::Tensor padded = at::constant_pad_nd(token, {1, 1, 1, 1}, -1);
  at::Tensor edge = at::zeros_like(token, at::kBool);
  for (const auto& [y, x] : {std::pair{0, 1}, {2, 1}, {1, 0}, {1, 2}}) {
    edge |= padded.narrow(1, y, height).narrow(2, x, width).ne(token);
  }
  return edge & count.gt(1).index_select(0, token.reshape({-1})).reshape(token.sizes());
}

}  // namespace

at::Tensor enlarged(const at::Tensor& frames, int64_t zoom) {
  return frames.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2);
}

at::Tensor seen_pixels(const at::Tensor& patches, const ViTConfig& config,
                       const PreprocessSpec& spec) {
  const int64_t frames = patches.size(0), patch = config.patch;
  const int64_t rows = config.grid_rows(), cols = config.grid_cols();
  const at::Tensor std = at::tensor(at::ArrayRef<float>(spec.std)).reshape({3, 1, 1});
  const at::Tensor mean = at::tensor(at::ArrayRef<float>(spec.mean)).reshape({3, 1, 1});
  const at::Tensor rgb =
      (patches.reshape({frames, rows, cols, 3, patch, patch}) * std + mean) / spec.rescale;
  return rgb.flip(3)
      .permute({0, 1, 4, 2, 5, 3})
      .reshape({frames, rows * patch, cols * patch, 3})
      .round()
      .clamp(0, 255)
      .to(at::kByte);
}

int64_t largest_token(const TokenMap& map) { return patches_of_tokens(map).max().item<int64_t>(); }

at::Tensor draw_tokens(const at::Tensor& pixels, const TokenMap& map, int64_t zoom) {
  const at::Tensor count = patches_of_tokens(map);
  const at::Tensor token = token_of_pixels(map);
  at::Tensor picture = enlarged(fill_tokens(pixels, token, count), zoom).contiguous();
  const at::Tensor large = enlarged(token, zoom).contiguous();
  const at::Tensor edge = edges_of(large, count).contiguous();
  const bool* drawn = edge.const_data_ptr<bool>();
  const int64_t* whose = large.const_data_ptr<int64_t>();
  auto* out = reinterpret_cast<cv::Vec3b*>(picture.mutable_data_ptr<unsigned char>());
  for (int64_t i = 0; i < edge.numel(); ++i) {
    if (drawn[i]) out[i] = edge_colour(whose[i]);
  }
  return picture;
}

}  // namespace tome::cli
