#include "model_settings.h"

#include "engine/clip_frames.h"
#include "forward_settings.h"
#include "schedule_option.h"
#include "shipped_model.h"
#include "tome_error.h"
#include "vit/token_geometry.h"

namespace tome::cli {
namespace {

/// The core knows sizes, not options.
std::string with_option(const std::string& text, const ModelSettings& settings) {
  if (text.starts_with("clip-length:")) return "--" + text;
  if (text.starts_with("clip length")) return "--clip-length: " + text;
  if (text.starts_with("input size")) return "--size: " + text;
  // What both make of the model together.
  std::string options = settings.size > 0 ? "--size" : "";
  if (settings.clip_length > 0)
    options += (options.empty() ? "" : ", ") + std::string("--clip-length");
  return options.empty() ? text : options + ": " + text;
}

}  // namespace

void add_model_or_shipped(CLI::App& command, ModelSettings& settings) {
  command.add_option("--model", settings.folder,
                     "model folder in Hugging Face layout; default: camera-state, which ships");
}

void use_shipped_model(ModelSettings& settings) {
  if (settings.folder.empty()) settings.folder = shipped_model_folder();
}

void add_size_options(CLI::App& command, ModelSettings& settings, const char* clip_length_help) {
  add_count(command, "--clip-length", settings.clip_length, 0, clip_length_help);
  add_count(command, "--size", settings.size, 0,
            "pixels of a side of a square input, to which the model's position embeddings are "
            "interpolated; 0: the model's own");
}

Checkpoint load_model(const ModelSettings& settings) {
  LoadOptions options;
  if (!settings.labels_file.empty()) options.labels_file = settings.labels_file;
  if (settings.size > 0) options.image_height = options.image_width = settings.size;
  options.clip_length = settings.clip_length;
  try {
    return load_checkpoint(settings.folder, options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kSettings) throw;
    throw Error(error.kind(), with_option(error.what(), settings));
  }
}

int64_t frames_per_request(const ViTConfig& config, int64_t clip_length) {
  try {
    return clip_frames(config, clip_length);
  } catch (const Error& error) {
    // "clip-length: …" is the property.
    throw Error(error.kind(), "--" + std::string(error.what()));
  }
}

std::vector<int64_t> r_or_shipped(const std::string& spec, const Checkpoint& checkpoint,
                                  int64_t frames) {
  const TokenGeometry geometry = token_geometry(checkpoint.config, frames);
  if (!spec.empty()) return asked_r(spec, geometry);
  try {
    return Schedule::parse(checkpoint.default_schedule).resolve(geometry);
  } catch (const Error& error) {
    throw Error(error.kind(), "--r: not given, and what the model ships with does not fit here: " +
                                  std::string(error.what()));
  }
}

}  // namespace tome::cli
