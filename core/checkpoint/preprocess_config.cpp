#include "checkpoint/preprocess_config.h"

#include <cmath>

#include "checkpoint/model_spec.h"
#include "tome_error.h"

namespace tome {
namespace {

constexpr int64_t kMaxResize = 2 * kMaxImageSide;

constexpr std::array<float, 3> kHalf{0.5F, 0.5F, 0.5F};
constexpr std::array<float, 3> kImageNetMean{0.485F, 0.456F, 0.406F};
constexpr std::array<float, 3> kImageNetStd{0.229F, 0.224F, 0.225F};
constexpr std::array<float, 3> kClipMean{0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kClipStd{0.26862954F, 0.26130258F, 0.27577711F};

struct NamedInterpolation {
  const char* name;
  int64_t pil;  // PIL's Resampling code, which transformers writes
  Interpolation value;
};
constexpr std::array<NamedInterpolation, 4> kInterpolations{
    {{"nearest", 0, Interpolation::kNearest},
     {"lanczos", 1, Interpolation::kLanczos},
     {"bilinear", 2, Interpolation::kBilinear},
     {"bicubic", 3, Interpolation::kBicubic}}};

struct NamedCrop {
  const char* name;
  CropMode value;
};
constexpr std::array<NamedCrop, 3> kCrops{
    {{"center", CropMode::kCenter}, {"squash", CropMode::kSquash}, {"border", CropMode::kBorder}}};

Interpolation interpolation_by_name(const ConfigObject& json, const char* key,
                                    const char* fallback) {
  const std::string name = json.text(key, fallback);
  for (const auto& each : kInterpolations) {
    if (name == each.name) return each.value;
  }
  json.wrong(key, "nearest, bilinear, bicubic or lanczos");
}

CropMode crop_by_name(const ConfigObject& json) {
  const std::string name = json.text("crop_mode", "center");
  for (const auto& each : kCrops) {
    if (name == each.name) return each.value;
  }
  json.wrong("crop_mode", "center, squash or border");
}

std::array<float, 3> positive_std(const ConfigObject& json, const char* key,
                                  const std::array<float, 3>& fallback) {
  const auto values = json.channels(key, fallback);
  for (const float value : values) {
    if (!(value > 1e-6F)) json.wrong(key, "positive numbers");
  }
  return values;
}

int32_t scaled(int64_t size, int64_t to, int64_t from) {
  const double value =
      std::round(static_cast<double>(size) * static_cast<double>(to) / static_cast<double>(from));
  return static_cast<int32_t>(std::min(std::max(value, 1.0), static_cast<double>(kMaxResize)));
}

// What transformers' image processors assume where a key is missing.
struct HfDefaults {
  int64_t short_edge, height, width;  // short_edge 0: both sides
  bool crop;
  int64_t resample;
  double rescale;
  bool offset;
  std::array<float, 3> mean, std;
};

// BitImageProcessor's, whatever size a DINOv2's positions have.
constexpr int64_t kDinov2Side = 224;

bool is_dinov2(const std::string& type) {
  return type == "dinov2" || type == "dinov2_with_registers";
}

HfDefaults hf_defaults(const std::string& type, const InputSize& native) {
  const auto near = [](int64_t side, int64_t times) { return side * times / 224; };
  if (type == "vit") {
    return {0, native.height, native.width, false, 2, 1.0 / 255, false, kHalf, kHalf};
  }
  if (type == "deit") {
    return {
        0,    near(native.height, 256), near(native.width, 256), true, 3, 1.0 / 255, false, kHalf,
        kHalf};
  }
  if (type == "siglip") {
    return {0, native.height, native.width, false, 3, 1.0 / 255, false, kHalf, kHalf};
  }
  if (is_dinov2(type)) {
    return {kDinov2Side, 0, 0, true, 3, 1.0 / 255, false, kClipMean, kClipStd};
  }
  const int64_t edge = std::min(native.height, native.width);
  if (type == "videomae") {
    return {edge, 0, 0, true, 2, 1.0 / 255, false, kHalf, kHalf};
  }
  return {near(edge, 256), 0, 0, true, 2, 1.0 / 127.5, true, kHalf, kHalf};
}

// `size` is an int (square, or the short edge where that is the default), {"height", "width"} or
// {"shortest_edge"}.
void read_hf_size(const ConfigObject& json, HfDefaults& out) {
  const bool int_is_edge = out.short_edge > 0;
  const auto* value = json.find("size");
  if (value == nullptr) return;
  if (!value->is_object()) {
    const int64_t side = json.integer("size", std::nullopt, 1, kMaxResize);
    out.short_edge = int_is_edge ? side : 0;
    out.height = out.width = side;
    return;
  }
  const ConfigObject size = *json.object("size");
  if (size.has("longest_edge")) {
    json.wrong("size", "height and width, or shortest_edge alone");
  }
  out.short_edge =
      size.has("shortest_edge") ? size.integer("shortest_edge", std::nullopt, 1, kMaxResize) : 0;
  if (out.short_edge == 0) {
    out.height = size.integer("height", std::nullopt, 1, kMaxResize);
    out.width = size.integer("width", std::nullopt, 1, kMaxResize);
  }
}

InputSize read_crop_size(const ConfigObject& json, const InputSize& native) {
  const auto* value = json.find("crop_size");
  if (value == nullptr) return native;
  if (!value->is_object()) {
    const int64_t side = json.integer("crop_size", std::nullopt, 1, kMaxResize);
    return {side, side};
  }
  const ConfigObject size = *json.object("crop_size");
  return {size.integer("height", std::nullopt, 1, kMaxResize),
          size.integer("width", std::nullopt, 1, kMaxResize)};
}

void check_reaches(const ConfigObject& json, const char* key, const InputSize& found,
                   const InputSize& native) {
  if (found == native) return;
  json.wrong(key, "the model's image_size, " + std::to_string(native.height) + "x" +
                      std::to_string(native.width));
}

// How the picture comes to the input size.
void read_hf_resizing(const ConfigObject& json, const HfDefaults& found, const InputSize& native,
                      const InputSize& input, PreprocessSpec& spec) {
  const bool crop = json.boolean("do_center_crop", found.crop);
  // A frame that is not resized fits no model; it is brought to the input size in any case.
  const bool resize = json.boolean("do_resize", true);
  spec.width = static_cast<int32_t>(input.width);
  spec.height = static_cast<int32_t>(input.height);
  spec.crop_rounds_down = true;
  if (resize && crop) check_reaches(json, "crop_size", read_crop_size(json, native), native);
  if (resize && found.short_edge > 0) {
    spec.crop_mode = CropMode::kCenter;
    spec.resize_short = scaled(found.short_edge, std::min(input.height, input.width),
                               std::min(native.height, native.width));
    return;
  }
  spec.crop_mode = CropMode::kSquash;
  spec.resize_short = static_cast<int32_t>(std::min(input.height, input.width));
  if (resize && !crop) check_reaches(json, "size", {found.height, found.width}, native);
  if (resize && crop) {
    spec.scale_width = scaled(found.width, input.width, native.width);
    spec.scale_height = scaled(found.height, input.height, native.height);
  }
}

Interpolation interpolation_by_code(const ConfigObject& json, int64_t fallback) {
  const int64_t code = json.integer("resample", fallback, 0, 5);
  for (const auto& each : kInterpolations) {
    if (each.pil == code) return each.value;
  }
  json.wrong("resample", "PIL's 0 (nearest), 1 (lanczos), 2 (bilinear) or 3 (bicubic)");
}

// Which filter, and from 0..255 to what the model takes.
void read_hf_values(const ConfigObject& json, const HfDefaults& found, PreprocessSpec& spec) {
  spec.interpolation = interpolation_by_code(json, found.resample);
  const bool rescale = json.boolean("do_rescale", true);
  spec.rescale =
      rescale ? static_cast<float>(json.number("rescale_factor", found.rescale, 1e-9, 1e3)) : 1.0F;
  const bool normalise = json.boolean("do_normalize", true);
  spec.mean = normalise ? json.channels("image_mean", found.mean) : std::array<float, 3>{};
  spec.std = normalise ? positive_std(json, "image_std", found.std)
                       : std::array<float, 3>{1.0F, 1.0F, 1.0F};
  // vivit's `offset`: pixel * rescale - 1 before mean and std, which is a mean larger by 1.
  if (rescale && json.boolean("offset", found.offset)) {
    for (float& mean : spec.mean) mean += 1.0F;
  }
}

ConfigObject or_empty(const std::optional<ConfigObject>& file) {
  return file.value_or(ConfigObject::empty("preprocessor_config.json"));
}

}  // namespace

PreprocessSpec read_timm_preprocess(const ConfigObject& pretrained, const InputSize& input) {
  PreprocessSpec spec;
  const double crop = pretrained.number("crop_pct", 0.875, 0.05, 2);
  const auto scale = [crop](int64_t side) {
    return static_cast<int32_t>(std::max(1.0, std::min(std::floor(static_cast<double>(side) / crop),
                                                       static_cast<double>(kMaxResize))));
  };
  spec.width = static_cast<int32_t>(input.width);
  spec.height = static_cast<int32_t>(input.height);
  spec.resize_short = scale(std::min(input.height, input.width));
  spec.crop_mode = crop_by_name(pretrained);
  if (spec.crop_mode != CropMode::kCenter || scale(input.width) != scale(input.height)) {
    spec.scale_width = scale(input.width);
    spec.scale_height = scale(input.height);
  }
  spec.interpolation = interpolation_by_name(pretrained, "interpolation", "bicubic");
  spec.mean = pretrained.channels("mean", kImageNetMean);
  spec.std = positive_std(pretrained, "std", kImageNetStd);
  return spec;
}

InputSize hf_input_size(const std::optional<ConfigObject>& file, const std::string& type,
                        const InputSize& tables) {
  const ConfigObject json = or_empty(file);
  HfDefaults found = hf_defaults(type, tables);
  read_hf_size(json, found);
  InputSize size{found.height, found.width};
  if (json.boolean("do_center_crop", found.crop)) {
    size = read_crop_size(json, {kDinov2Side, kDinov2Side});
  } else if (!json.boolean("do_resize", true)) {
    return tables;
  } else if (found.short_edge > 0) {
    json.wrong("do_center_crop", "true: a model sees images of one size");
  }
  if (std::max(size.height, size.width) > kMaxImageSide) {
    json.wrong(json.has("crop_size") ? "crop_size" : "size",
               "sides of at most " + std::to_string(kMaxImageSide));
  }
  return size;
}

PreprocessSpec read_hf_preprocess(const std::optional<ConfigObject>& file, const std::string& type,
                                  const InputSize& native, const InputSize& input) {
  const ConfigObject json = or_empty(file);
  HfDefaults found = hf_defaults(type, native);
  read_hf_size(json, found);
  PreprocessSpec spec;
  read_hf_resizing(json, found, native, input, spec);
  read_hf_values(json, found, spec);
  return spec;
}

PreprocessSpec read_tome_preprocess(const ConfigObject& json, const InputSize& input) {
  PreprocessSpec spec;
  const int64_t width = json.integer("width", input.width, 1, kMaxImageSide);
  const int64_t height = json.integer("height", input.height, 1, kMaxImageSide);
  const auto along_x = [&](int64_t size) {
    return size == 0 ? 0 : scaled(size, input.width, width);
  };
  const auto along_y = [&](int64_t size) {
    return size == 0 ? 0 : scaled(size, input.height, height);
  };
  spec.width = static_cast<int32_t>(input.width);
  spec.height = static_cast<int32_t>(input.height);
  spec.resize_short = scaled(json.integer("resize_short", std::min(width, height), 1, kMaxResize),
                             std::min(input.width, input.height), std::min(width, height));
  spec.scale_width = along_x(json.integer("scale_width", 0, 0, kMaxResize));
  spec.scale_height = along_y(json.integer("scale_height", 0, 0, kMaxResize));
  spec.crop_mode = crop_by_name(json);
  spec.crop_rounds_down = json.boolean("crop_rounds_down", false);
  spec.interpolation = interpolation_by_name(json, "interpolation", "bicubic");
  spec.antialias = json.boolean("antialias", true);
  spec.mean = json.channels("mean", kHalf);
  spec.std = positive_std(json, "std", kHalf);
  spec.rescale = static_cast<float>(json.number("rescale", 1.0 / 255, 1e-9, 1e3));
  return spec;
}

const char* name_of(CropMode mode) {
  for (const auto& each : kCrops) {
    if (each.value == mode) return each.name;
  }
  return kCrops.front().name;
}

nlohmann::ordered_json preprocess_json(const PreprocessSpec& spec) {
  const char* interpolation = "bicubic";
  for (const auto& each : kInterpolations) {
    if (each.value == spec.interpolation) interpolation = each.name;
  }
  return {{"width", spec.width},
          {"height", spec.height},
          {"crop_mode", name_of(spec.crop_mode)},
          {"crop_rounds_down", spec.crop_rounds_down},
          {"resize_short", spec.resize_short},
          {"scale_width", spec.scale_width},
          {"scale_height", spec.scale_height},
          {"interpolation", interpolation},
          {"antialias", spec.antialias},
          {"mean", spec.mean},
          {"std", spec.std},
          {"rescale", spec.rescale}};
}

}  // namespace tome
