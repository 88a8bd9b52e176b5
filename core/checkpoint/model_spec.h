// What a config.json says of a model: its shape, and how its file names the tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/config_object.h"
#include "vit/config.h"

namespace tome {

/// Who named the tensors.
enum class Naming {
  kTimm,      ///< timm's VisionTransformer and VisionTransformerDistilled, and our own folders
  kHfVit,     ///< transformers ViTForImageClassification
  kHfDeit,    ///< transformers DeiTForImageClassification(WithTeacher)
  kVideoMae,  ///< transformers VideoMAEForVideoClassification
  kVivit,     ///< transformers VivitForVideoClassification
  kSiglip,    ///< transformers SiglipForImageClassification
  kDinov2,    ///< transformers Dinov2ForImageClassification
  kDinov2WithRegisters,  ///< transformers Dinov2WithRegistersForImageClassification
  kMaeSt,                ///< facebookresearch/mae_st's fine-tuning model
};

/// A model as its config.json describes it; the tensors must agree in every point.
struct ModelSpec {
  Naming naming = Naming::kTimm;
  ViTConfig config;  ///< `classes` is 0 where the configuration does not say
  bool qkv_bias = true;
  bool key_bias = true;  ///< false: only queries and values have one (videomae)
  bool patch_bias = true;
  bool layer_scale = false;
  bool separable_positions = false;  ///< mae_st's sep_pos_embed
  /// Positions are brought to another size as timm does it; false: without antialiasing (dinov2).
  bool antialias_positions = true;
  /// The table of positions may be that of another image, a square one (timm).
  bool any_square_positions = false;
  /// Set by read_weights: the side in patches of that other image, 0 where it is none.
  int64_t positions_side = 0;
  /// Tensors that the family's files may hold and its classifier does not use.
  std::vector<std::string> unused;

  /// DINOv2's: `config` has the size its table was made for; images come as large as the
  /// pre-processing leaves them.
  bool size_is_of_positions() const {
    return naming == Naming::kDinov2 || naming == Naming::kDinov2WithRegisters;
  }
};

/// Largest sizes that a configuration may ask for, so that none makes us allocate without bound
/// before a tensor of the file has confirmed it.
constexpr int64_t kMaxImageSide = 16384;
constexpr int64_t kMaxFrames = 4096;
constexpr int64_t kMaxTokens = 65536;
constexpr int64_t kMaxClasses = 1'000'000;

/// Reads config.json of any supported family: timm (`architecture`), transformers (`model_type`
/// vit, deit, siglip, dinov2, dinov2_with_registers, videomae, vivit), mae_st and our own
/// (`model_type` mae_st, gst-tome).
/// @throws Error kFormat that names the key; an unknown architecture lists what is known
ModelSpec read_model_spec(const ConfigObject& config);

/// The families, each in its own file; called by read_model_spec.
ModelSpec read_timm_spec(const ConfigObject& config);
ModelSpec read_hf_spec(const ConfigObject& config, const std::string& model_type);
ModelSpec read_mae_st_spec(const ConfigObject& config);
ModelSpec read_tome_spec(const ConfigObject& config);

/// The spec a timm architecture name stands for ("vit_base_patch16_clip_224").
/// @param config  for the message of an unknown name
ModelSpec timm_architecture(const std::string& name, const ConfigObject& config);

/// timm's and Hugging Face's names for activation functions.
Activation activation_of(const std::string& name, const ConfigObject& config, const char* key);
/// The one that gst-tome's folders use.
std::string activation_name(Activation activation);

/// Checks that sizes divide and stay inside the limits. `what` names the source for the message.
void check_geometry(const ViTConfig& config, const std::string& what);

}  // namespace tome
