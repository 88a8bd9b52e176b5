#include "train/start_model.h"

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <utility>

#include "checkpoint/model_spec.h"
#include "error_line.h"
#include "folder_entries.h"
#include "tome_error.h"
#include "train/hash.h"
#include "train/parameters.h"

namespace tome::cli {
namespace {

using namespace tome::train;

/// What could not be trained, or not be read back afterwards, in the words of the options.
void check_shape(const ViTConfig& c) {
  const auto need = [](bool good, const std::string& what) {
    if (!good) throw Error(ErrorKind::kSettings, what);
  };
  need(c.frames % c.tubelet == 0, "--frames " + std::to_string(c.frames) +
                                      " does not divide by --tubelet " + std::to_string(c.tubelet));
  need(c.image_height % c.patch == 0, "--size " + std::to_string(c.image_height) +
                                          " does not divide by --patch " + std::to_string(c.patch));
  need(c.dim % c.heads == 0,
       "--dim " + std::to_string(c.dim) + " does not divide by --heads " + std::to_string(c.heads));
  check_geometry(c, "the model asked for");
}

/// A fresh architecture: no class token, mean of the tokens, a norm on it; tokens count by size.
Checkpoint make_checkpoint(const TrainArguments& a, std::vector<std::string> labels) {
  Checkpoint out;
  ViTConfig& c = out.config;
  c.name = a.name;
  c.image_height = c.image_width = a.size > 0 ? a.size : 96;
  c.patch = a.patch;
  c.frames = a.frames > 0 ? a.frames : 8;
  c.tubelet = a.tubelet > 0 ? a.tubelet : (c.frames > 1 ? 2 : 1);
  c.dim = a.dim;
  c.depth = a.depth;
  c.heads = a.heads;
  c.mlp_hidden = a.dim * a.mlp;
  c.classes = static_cast<int64_t>(labels.size());
  c.class_token = a.class_token;
  c.pooling = a.class_token ? Pooling::kToken : Pooling::kMean;
  c.final_norm = a.class_token;
  c.fc_norm = !a.class_token;
  c.prop_attn_auto = true;
  check_shape(c);
  out.preprocess.width = out.preprocess.height = out.preprocess.resize_short =
      static_cast<int32_t>(c.image_height);
  out.preprocess.crop_mode = CropMode::kSquash;
  out.preprocess.interpolation = Interpolation::kBilinear;
  out.labels = std::move(labels);
  out.weights = make_weights(c, a.options.seed);
  return out;
}

/// The same model input from the whole picture, squeezed into shape, where it was cut from the
/// centre.
PreprocessSpec whole_frame(PreprocessSpec spec) {
  spec.crop_mode = CropMode::kSquash;
  spec.scale_width = spec.scale_height = 0;
  return spec;
}

/// A folder's labels come sorted. Where the model has the same ones, its order of them and with it
/// its head stay; a generator's classes are numbers, and have one order.
std::vector<std::string> in_order_of(const std::vector<std::string>& model,
                                     std::vector<std::string> labels) {
  std::vector<std::string> sorted = model;
  std::sort(sorted.begin(), sorted.end());
  std::sort(labels.begin(), labels.end());
  return sorted == labels ? model : labels;
}

/// Starts from a model: the same shape, or an image model inflated to clips.
Checkpoint start_from(const TrainArguments& a, std::vector<std::string> labels) {
  LoadOptions load;
  if (a.size > 0) load.image_height = load.image_width = a.size;
  Checkpoint out = load_checkpoint(a.init, load);
  if (a.generator.empty()) labels = in_order_of(out.labels, std::move(labels));
  ViTConfig clip = out.config;
  clip.name = a.name;
  clip.classes = static_cast<int64_t>(labels.size());
  const bool image = out.config.frames == 1;
  if (a.tubelet > 0 && !(image && a.frames > 0)) {
    throw Error(ErrorKind::kSettings,
                "--tubelet: found with --init '" + a.init + "' of " +
                    std::to_string(out.config.frames) + " frame(s), expected " +
                    (image ? "--frames too, for an image model to be inflated to"
                           : "none: a clip model's tubelets stay as they are, " +
                                 std::to_string(out.config.tubelet) + " frame(s) each"));
  }
  if (a.frames > 0 && image) {
    clip.frames = a.frames;
    clip.tubelet = a.tubelet > 0 ? a.tubelet : (a.frames % 2 == 0 ? 2 : 1);
    clip.family = "vit";
  } else if (a.frames > 0) {
    clip.frames = a.frames;
  }
  check_shape(clip);
  if (a.whole_frame) out.preprocess = whole_frame(out.preprocess);
  if (clip.frames != out.config.frames) {
    out.weights = inflate(out.config, out.weights, clip, a.options.seed);
  }
  if (labels != out.labels) {
    say("a new head for " + std::to_string(labels.size()) + " classes: '" + a.init + "' has " +
        std::to_string(out.labels.size()) + " with other names");
    out.weights.head = make_weights(clip, a.options.seed).head;
    out.weights.head_dist = {};
    clip.distilled_head = false;
  }
  out.config = clip;
  out.labels = std::move(labels);
  return out;
}

}  // namespace

Checkpoint start_model(const TrainArguments& arguments, std::vector<std::string> labels) {
  return arguments.init.empty() ? make_checkpoint(arguments, std::move(labels))
                                : start_from(arguments, std::move(labels));
}

std::string weights_hash(const std::filesystem::path& folder) {
  std::error_code missing;  // loading says so
  const std::filesystem::path one = folder / "model.safetensors";
  if (std::filesystem::exists(one, missing)) return file_hash(one);
  Hash hash;
  for (const std::filesystem::path& file : visible_entries(folder)) {
    if (file.extension() == ".safetensors") {
      hash.add_item(file.filename().string()).add_item(file_hash(file));
    }
  }
  return hash.text();
}

std::string config_hash(const std::filesystem::path& folder) {
  Hash hash;
  for (const char* name :
       {"config.json", "preprocessor_config.json", "video_preprocessor_config.json"}) {
    std::error_code missing;
    const std::filesystem::path file = folder / name;
    if (std::filesystem::exists(file, missing)) hash.add_item(name).add_item(file_hash(file));
  }
  return hash.text();
}

}  // namespace tome::cli
