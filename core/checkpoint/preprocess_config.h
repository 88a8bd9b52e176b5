// Pre-processing as the checkpoint's own configuration describes it.
#pragma once

#include <optional>

#include "checkpoint/config_object.h"
#include "media/preprocess.h"
#include "vit/config.h"

namespace tome {

/// The size a checkpoint was made for and the one it is loaded at.
struct InputSize {
  int64_t height = 0, width = 0;
  bool operator==(const InputSize&) const = default;
};

/// timm's pretrained_cfg: `interpolation`, `crop_pct`, `crop_mode`, `mean`, `std`. Sizes follow
/// timm's transforms_imagenet_eval: floor(size / crop_pct) for each side.
PreprocessSpec read_timm_preprocess(const ConfigObject& pretrained, const InputSize& input);

/// The size that transformers' preprocessor_config.json leads to, where a model takes any: dinov2,
/// dinov2_with_registers.
/// @param tables  the size that the model's positions were made for; holds if the file changes none
InputSize hf_input_size(const std::optional<ConfigObject>& file, const std::string& model_type,
                        const InputSize& tables);

/// transformers' preprocessor_config.json (absent: its defaults for `model_type`).
/// @param native  the size in config.json, which the file's sizes must lead to; for the types of
///   hf_input_size what that gives
/// @param input  the size asked for; the resizing scales along
PreprocessSpec read_hf_preprocess(const std::optional<ConfigObject>& file,
                                  const std::string& model_type, const InputSize& native,
                                  const InputSize& input);

/// "center", "squash" or "border".
const char* name_of(CropMode mode);

/// PreprocessSpec by its own keys, as save_checkpoint writes it; scaled to `input` as above.
PreprocessSpec read_tome_preprocess(const ConfigObject& json, const InputSize& input);
nlohmann::ordered_json preprocess_json(const PreprocessSpec& spec);

}  // namespace tome
