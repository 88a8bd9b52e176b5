// The shape of a Vision Transformer, in timm's terms.
#pragma once

#include <cstdint>
#include <string>

namespace tome {

/// What the head sees (timm's `global_pool`).
enum class Pooling {
  kToken,         ///< the class token (mean of both heads when distilled)
  kMean,          ///< mean of the patch tokens, weighted by token size where the family says so
  kTokenAndMean,  ///< one behind the other, which timm has no word for (DINOv2's linear heads)
};

enum class Activation { kGelu, kGeluTanh, kQuickGelu, kRelu };

/// Everything that decides the arithmetic of a model, apart from its weights. Image models have
/// frames = tubelet = 1.
struct ViTConfig {
  /// vit, deit, hf-vit, hf-deit, siglip, dinov2, dinov2_with_registers, mae_st, videomae, vivit
  std::string family = "vit";
  std::string name;  ///< the checkpoint's own name, for messages and results
  int64_t image_height = 224, image_width = 224, patch = 16, channels = 3;
  int64_t frames = 1;   ///< frames of one clip
  int64_t tubelet = 1;  ///< frames of one tubelet; divides `frames`
  int64_t dim = 768, depth = 12, heads = 12, mlp_hidden = 3072, classes = 1000;
  double norm_eps = 1e-6;
  double fc_norm_eps = 1e-6;  ///< of fc_norm alone, which HF videomae gives another one
  bool class_token = true;
  bool distill_token = false;
  int64_t registers = 0;         ///< register tokens after class and distillation token
  bool pos_embed_prefix = true;  ///< the position table has rows for the prefix tokens (timm's
                                 ///< not no_embed_class)
  bool pre_norm = false;         ///< LayerNorm before block 0 (timm's norm_pre)
  bool final_norm = true;        ///< LayerNorm of all tokens after the last block
  bool fc_norm = false;          ///< LayerNorm of the pooled vector
  bool distilled_head = false;   ///< two heads whose logits are averaged
  Pooling pooling = Pooling::kToken;
  /// Proportional attention when the user says `auto`: by family, see the table in
  /// docs/checkpoints.md (on where the head sees the class token, off where it sees a mean alone),
  /// unless config.json's `prop_attn` says it.
  bool prop_attn_auto = true;
  bool weighted_pool = true;  ///< means weight tokens by their size
  Activation activation = Activation::kGelu;

  int64_t grid_rows() const { return image_height / patch; }
  int64_t grid_cols() const { return image_width / patch; }
  int64_t grid_frames() const { return frames / tubelet; }
  /// Class, distillation and register tokens: they come first and never merge.
  int64_t prefix_tokens() const {
    return (class_token ? 1 : 0) + (distill_token ? 1 : 0) + registers;
  }
  int64_t patch_tokens() const { return grid_frames() * grid_rows() * grid_cols(); }
  int64_t tokens() const { return prefix_tokens() + patch_tokens(); }
  /// Channels of what the head sees.
  int64_t head_inputs() const { return pooling == Pooling::kTokenAndMean ? 2 * dim : dim; }
};

}  // namespace tome
