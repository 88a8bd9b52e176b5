// A plain Vision Transformer with token merging in every block.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "vit/config.h"
#include "vit/forward_options.h"
#include "vit/weights.h"

namespace tome {

struct BlockTrace {
  at::Tensor x, metric, size;  // [B, N_out, dim], [B, N_in, C], [B, N_out]
};

struct ForwardOutput {
  at::Tensor logits;  ///< float32 [B, classes]
  at::Tensor source;  ///< int64 [B, tokens], place of each input token at the end; if tracked
  at::Tensor size;    ///< float32 [B, tokens_out]; undefined if nothing merged
  int64_t tokens_in = 0, tokens_out = 0;
  std::vector<int64_t> r;  ///< merged in each block
  std::vector<BlockTrace> trace;
};

/// Weights, laid out for one device and precision, and the forward pass over them. `forward` is
/// const and may run on several threads at once.
class VisionTransformer {
 public:
  /// @param weights  as load_checkpoint gives them; converted and packed here
  /// @param precision  float32, bfloat16, float16 (GPUs), or int8 (CPUs, by at::kChar: see Note
  ///   [Products in 8 bits]; weights() is empty then)
  /// @throws Error kSettings for a precision the device has not, kOutOfMemory
  VisionTransformer(ViTConfig config, ViTWeights weights, at::Device device = at::kCPU,
                    at::ScalarType precision = at::kFloat);
  ~VisionTransformer();
  VisionTransformer(VisionTransformer&&) noexcept;
  VisionTransformer& operator=(VisionTransformer&&) noexcept;

  /// @param patches  float32 [B, T, n, 3 * p * p]: patch rows (see preprocess_to_patches) of T
  ///   frames. T is config.frames; an image model (config.frames = 1) takes any T and runs the
  ///   frames' patches as one joint set, see Note [Image models on clips] in first_tokens.h.
  /// Nothing is recorded for gradients unless `patches` or a weight requires one.
  /// @throws Error kSettings for patches of another shape and for more numbers in r than blocks;
  ///   std::bad_alloc, c10::OutOfMemoryError
  ForwardOutput forward(const at::Tensor& patches, const ForwardOptions& options = {}) const;

  /// Same from pixels, float32 [B, 3, H, W] or [B, 3, T, H, W], normalised, of the model's size.
  /// @throws as forward
  ForwardOutput forward_pixels(const at::Tensor& pixels, const ForwardOptions& options = {}) const;

  const ViTConfig& config() const { return config_; }
  at::Device device() const { return device_; }
  at::ScalarType precision() const { return precision_; }
  /// The tensors a trainer optimises, in `precision`. Set requires_grad on them before the first
  /// forward; packed copies are then never made, and steps in place need no word. When a tensor is
  /// replaced, or changed in place without requiring a gradient, call weights_changed.
  ViTWeights& weights();
  /// Drops copies made of the weights (packed for the CPU's products) and takes them anew.
  /// @throws Error kSettings of a model in int8
  void weights_changed();

 private:
  ForwardOutput forward_on_operators(const at::Tensor& patches,
                                     const ForwardOptions& options) const;

  ViTConfig config_;
  at::Device device_;
  at::ScalarType precision_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Frames' patches as tubelets: [B, T, n, k] to [B, T / tubelet, n, tubelet * k], what
/// match_static_runs compares.
at::Tensor tubelets_of(const at::Tensor& patches, int64_t tubelet);

/// Pixels [B, C, T, H, W] to patch rows [B, T, n, C * p * p] of the same dtype: patches row by row,
/// and in each its channels in turn, row by row. What is left to the right of whole patches, and
/// below them, is cut off.
at::Tensor patchify(const at::Tensor& pixels, int64_t patch);

}  // namespace tome
