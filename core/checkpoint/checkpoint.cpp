#include "checkpoint/checkpoint.h"

#include "checkpoint/json_text.h"
#include "checkpoint/labels.h"
#include "checkpoint/model_spec.h"
#include "checkpoint/positions.h"
#include "checkpoint/preprocess_config.h"
#include "checkpoint/tensor_reader.h"
#include "checkpoint/weight_files.h"
#include "checkpoint/weight_reader.h"
#include "excerpt.h"
#include "merging/schedule.h"
#include "never_destroyed.h"
#include "tome_error.h"
#include "vit/token_geometry.h"

namespace tome {
namespace {

namespace fs = std::filesystem;

void check_folder(const fs::path& folder) {
  std::error_code ignored;
  const auto status = fs::status(folder, ignored);
  if (!fs::exists(status)) {
    throw Error(ErrorKind::kNotFound, folder.string() +
                                          ": no such folder, expected a model in "
                                          "Hugging Face layout");
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorKind::kRead, folder.string() +
                                      ": not a folder, expected one that holds "
                                      "config.json and model.safetensors");
  }
}

// The sizes asked for; what is not asked stays as the checkpoint has it.
ViTConfig asked_config(const ViTConfig& native, const LoadOptions& options) {
  ViTConfig config = native;
  if (options.image_height.has_value() != options.image_width.has_value()) {
    throw Error(ErrorKind::kSettings, "input size: height and width must be given together");
  }
  const auto side = [](int64_t value) {
    if (value >= 1 && value <= kMaxImageSide) return value;
    throw Error(ErrorKind::kSettings, "input size " + std::to_string(value) + ", expected 1 to " +
                                          std::to_string(kMaxImageSide));
  };
  if (options.image_height) {
    config.image_height = side(*options.image_height);
    config.image_width = side(*options.image_width);
  }
  const bool is_image_model = native.frames == 1 && native.tubelet == 1;
  std::optional<int64_t> frames = options.frames;
  if (options.clip_length != 0 && !is_image_model) frames = options.clip_length;
  if (frames && *frames != native.frames) {
    if (is_image_model) {
      throw Error(ErrorKind::kSettings, "clip length " + std::to_string(*frames) + ": " +
                                            excerpt(native.name) +
                                            " is an image model, whose tensors are "
                                            "the same for clips of any length");
    }
    if (*frames < 1 || *frames > kMaxFrames) {
      throw Error(ErrorKind::kSettings, "clip length " + std::to_string(*frames) +
                                            ", expected 1 to " + std::to_string(kMaxFrames));
    }
    if (*frames % native.tubelet != 0) {
      throw Error(ErrorKind::kSettings,
                  "clip-length: found " + std::to_string(*frames) + ", expected a multiple of " +
                      std::to_string(native.tubelet) + ", the frames of one tubelet of " +
                      excerpt(native.name));
    }
    config.frames = *frames;
  }
  try {
    check_geometry(config, excerpt(native.name));
  } catch (const Error& error) {  // here it is the caller's size that does not fit
    throw Error(ErrorKind::kSettings, error.what());
  }
  return config;
}

TokenGrid grid_of(const ViTConfig& config) {
  return {config.grid_frames(), config.grid_rows(), config.grid_cols()};
}

// Of the table that the file holds.
TokenGrid stored_grid(const ModelSpec& spec) {
  if (spec.positions_side == 0) return grid_of(spec.config);
  return {spec.config.grid_frames(), spec.positions_side, spec.positions_side};
}

// What transformers keeps beside config.json.
struct ProcessorFile {
  nlohmann::json json;
  std::string path;
};

std::optional<ProcessorFile> read_processor_file(const fs::path& folder, const ModelSpec& spec) {
  if (spec.naming == Naming::kTimm || spec.naming == Naming::kMaeSt) return std::nullopt;
  for (const char* name : {"preprocessor_config.json", "video_preprocessor_config.json"}) {
    const fs::path file = folder / name;
    std::error_code ignored;
    if (fs::exists(file, ignored)) return ProcessorFile{read_json_file(file), file.string()};
  }
  return std::nullopt;
}

std::optional<ConfigObject> object_of(const std::optional<ProcessorFile>& file) {
  if (!file) return std::nullopt;
  return ConfigObject(file->json, file->path);
}

// The model at the size that its own pre-processing gives it, and the file that gives it.
struct Shipped {
  ViTConfig config;
  std::string sized_by;
};

Shipped shipped_model(const ModelSpec& spec, const ConfigObject& config,
                      const std::optional<ProcessorFile>& processor, const fs::path& folder) {
  Shipped out{spec.config,
              processor ? processor->path : (folder / "preprocessor_config.json").string()};
  if (!spec.size_is_of_positions()) return out;
  InputSize size{out.config.image_height, out.config.image_width};
  const auto own = config.object("preprocess");
  if (own && own->has("height") && own->has("width")) {
    size = {own->integer("height", std::nullopt, 1, kMaxImageSide),
            own->integer("width", std::nullopt, 1, kMaxImageSide)};
    out.sized_by = own->what();
  } else {
    size = hf_input_size(object_of(processor), config.text("model_type", ""), size);
  }
  out.config.image_height = size.height;
  out.config.image_width = size.width;
  return out;
}

// mae_st's.
struct KineticsPreprocess {
  ConfigObject::Json json{
      {"mean", {0.45, 0.45, 0.45}}, {"std", {0.225, 0.225, 0.225}}, {"interpolation", "bilinear"}};
};

PreprocessSpec read_preprocess(const std::optional<ProcessorFile>& processor,
                               const ConfigObject& config, const ModelSpec& native,
                               const ViTConfig& shipped, const ViTConfig& asked) {
  const InputSize input{asked.image_height, asked.image_width};
  if (const auto own = config.object("preprocess")) return read_tome_preprocess(*own, input);
  const std::string type = config.text("model_type", "");
  if (native.naming == Naming::kTimm) {
    return read_timm_preprocess(config.object("pretrained_cfg").value_or(config), input);
  }
  if (native.naming == Naming::kMaeSt) {
    const ConfigObject usual(never_destroyed<KineticsPreprocess>().json, config.what());
    return read_timm_preprocess(config.object("pretrained_cfg").value_or(usual), input);
  }
  return read_hf_preprocess(object_of(processor), type, {shipped.image_height, shipped.image_width},
                            input);
}

ScoreActivation read_activation(const ConfigObject& config) {
  const std::string type = config.text("problem_type", "single_label_classification");
  if (type == "single_label_classification") return ScoreActivation::kSoftmax;
  if (type == "multi_label_classification") return ScoreActivation::kSigmoid;
  if (type == "regression") return ScoreActivation::kNone;
  config.wrong("problem_type",
               "single_label_classification, multi_label_classification or regression");
}

std::string read_schedule(const ConfigObject& config, const ViTConfig& native) {
  const auto* value = config.find("tome_r");
  if (value == nullptr) return "0";
  if (!value->is_number_integer() && !value->is_string()) {
    config.wrong("tome_r", "a number or the spec string of a schedule");
  }
  std::string spec = value->is_string() ? value->get<std::string>() : value->dump();
  try {
    // For the model as it is shipped, so that it is the folder that is refused, not a setting.
    Schedule::parse(spec).resolve(token_geometry(native, native.frames));
  } catch (const Error& error) {
    throw Error(ErrorKind::kFormat, config.what() + ": tome_r: " + excerpt(error.what(), 500));
  }
  return spec;
}

}  // namespace

Checkpoint load_checkpoint(const fs::path& folder, const LoadOptions& options) {
  check_folder(folder);
  const auto json = read_json_file(folder / "config.json");
  const ConfigObject config(json, (folder / "config.json").string());
  ModelSpec spec = read_model_spec(config);
  if (spec.config.name.empty()) {
    const fs::path last = (fs::absolute(folder).lexically_normal() / "").parent_path().filename();
    spec.config.name = excerpt(last.string(), 255);  // a folder's name may hold any byte
  }

  Checkpoint out;
  {
    const auto files = WeightFiles::open(folder);
    TensorReader tensors(files);
    out.weights = read_weights(spec, tensors);
    tensors.finish();
  }
  const auto processor = read_processor_file(folder, spec);
  const Shipped shipped = shipped_model(spec, config, processor, folder);
  if (!options.image_height) check_geometry(shipped.config, shipped.sized_by);
  out.config = asked_config(shipped.config, options);
  out.weights.pos_embed =
      resample_positions(out.weights.pos_embed, spec.config.prefix_tokens(), stored_grid(spec),
                         grid_of(out.config), spec.antialias_positions);
  out.preprocess = read_preprocess(processor, config, spec, shipped.config, out.config);
  out.labels = read_labels(folder, config, options.labels_file, out.config.classes);
  out.activation = read_activation(config);
  out.default_schedule = read_schedule(config, shipped.config);
  return out;
}

}  // namespace tome
