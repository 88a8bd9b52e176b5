// Which patches became one token, drawn over what the model saw.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "media/preprocess.h"
#include "vit/config.h"

namespace tome::cli {

/// What the model sees, back in grey levels: bytes [T, H, W, 3], in OpenCV's order (BGR).
/// @param patches  float32 [T, n, 3 * p * p] on the CPU, as preprocess_to_patches writes them
at::Tensor seen_pixels(const at::Tensor& patches, const ViTConfig& config,
                       const PreprocessSpec& spec);

/// Each value of [T, H, W, …] zoom times across and down: [T, zoom * H, zoom * W, …].
at::Tensor enlarged(const at::Tensor& frames, int64_t zoom);

/// The patches of one input, in tubelets.
struct TokenMap {
  at::Tensor token;     ///< int64 [T / tubelet, rows, cols] on the CPU: whose each patch is
  int64_t tubelet = 1;  ///< frames of one patch
  int64_t patch = 16;   ///< pixels, across and down
};

/// Patches of the largest token.
int64_t largest_token(const TokenMap& map);

/// The pictures of "Token Merging: Your ViT But Faster" (figure 4, and figure 5 for clips): every
/// patch of a token that has several takes the mean colour of all of them, and an edge in the
/// token's own colour where its neighbour is another's. A patch that is alone stays as it was seen.
/// @param pixels  as seen_pixels gives them
/// @param zoom  output pixels of each of its pixels, across and down, >= 1
/// @return bytes [T, zoom * H, zoom * W, 3], BGR
at::Tensor draw_tokens(const at::Tensor& pixels, const TokenMap& map, int64_t zoom);

}  // namespace tome::cli
