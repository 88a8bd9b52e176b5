// A model folder in Hugging Face layout, read whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "media/preprocess.h"
#include "vit/config.h"
#include "vit/weights.h"

namespace tome {

/// How scores come from logits when the user says `auto`.
enum class ScoreActivation { kSoftmax, kSigmoid, kNone };

struct Checkpoint {
  ViTConfig config;
  ViTWeights weights;  ///< float32, CPU, owning (not views of the file)
  PreprocessSpec preprocess;
  std::vector<std::string> labels;  ///< one for each class; "class 7" where the folder names none
  ScoreActivation activation = ScoreActivation::kSoftmax;  ///< sigmoid for multi-label models
  std::string default_schedule = "0";  ///< config.json's `tome_r`: the r a model ships with
};

struct LoadOptions {
  std::optional<std::filesystem::path> labels_file;  ///< overrides the folder's labels
  /// Input size in pixels, both set or neither; position embeddings are interpolated (bicubic,
  /// antialiased, as timm's resample_abs_pos_embed) when it differs from that which the weights
  /// were saved with.
  std::optional<int64_t> image_height, image_width;
  std::optional<int64_t> frames;  ///< clip length for clip models; temporal positions interpolated
  /// As `frames`, for users who do not know the model: 0 is its own, and image models, which take
  /// clips of any length as they are, ignore it.
  int64_t clip_length = 0;
};

/// Reads config.json, preprocessor_config.json (else video_preprocessor_config.json),
/// model.safetensors (or the files of its index) and the labels of `folder`.
/// @throws Error naming the file, what was found and what was expected: a missing folder or file,
///   a truncated or lying safetensors header, a tensor that is missing, left over, or of another
///   shape or dtype, an unknown architecture, a label count that does not fit. kSettings for an
///   input size or clip length of `options` that the model cannot have.
Checkpoint load_checkpoint(const std::filesystem::path& folder, const LoadOptions& options = {});

/// Writes `checkpoint` as a folder that load_checkpoint reads back equal: config.json and
/// model.safetensors (timm names; "gst-tome" keys for what timm has no word for), in `dtype`.
/// @throws Error kSettings for a dtype that is not a floating one, kFailed if a folder or file
///   cannot be written
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                     at::ScalarType dtype = at::kFloat);

}  // namespace tome
