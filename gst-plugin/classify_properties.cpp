// Ranges, defaults and meanings of tomeclassify's properties.
#include "classify_settings.h"

#include <gst/gst.h>

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <variant>

namespace tome::gst {
namespace {

const Settings kDefaults;

constexpr auto kReady =
    static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);
constexpr auto kPlaying = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS |
                                                   GST_PARAM_MUTABLE_PLAYING);

/// Registers an enumeration once; `values` ends with a null entry and lives forever.
template <const GEnumValue* kValues>
GType enum_type(const char* name) {
  static const GType type = g_enum_register_static(name, kValues);
  return type;
}

constexpr GEnumValue kPrecisions[] = {
    {static_cast<int>(Precision::kAuto), "The fastest that keeps the model's accuracy", "auto"},
    {static_cast<int>(Precision::kFp32), "32-bit floating point", "fp32"},
    {static_cast<int>(Precision::kBf16), "bfloat16 products, fp32 scores and sizes", "bf16"},
    {static_cast<int>(Precision::kFp16), "half precision, where the device has it", "fp16"},
    {static_cast<int>(Precision::kInt8), "8-bit products on the CPU, quantised as they come",
     "int8"},
    {0, nullptr, nullptr}};
constexpr GEnumValue kPropAttns[] = {
    {TOME_PROP_ATTN_AUTO,
     "By the model's family (docs/checkpoints.md), or as its config.json's prop_attn says", "auto"},
    {TOME_PROP_ATTN_ON, "Attention weighs tokens by their size", "on"},
    {TOME_PROP_ATTN_OFF, "Attention ignores the size of tokens", "off"},
    {0, nullptr, nullptr}};
constexpr GEnumValue kRegions[] = {
    {static_cast<int>(InferenceRegion::kFullFrame), "The whole frame", "full-frame"},
    {static_cast<int>(InferenceRegion::kRoiList), "Each region that a detector attached",
     "roi-list"},
    {0, nullptr, nullptr}};
constexpr GEnumValue kActivations[] = {
    {TOME_ACTIVATION_AUTO, "As the model's configuration says, else softmax", "auto"},
    {TOME_ACTIVATION_SOFTMAX, "Probabilities that sum to one", "softmax"},
    {TOME_ACTIVATION_SIGMOID, "An independent probability per label", "sigmoid"},
    {TOME_ACTIVATION_NONE, "Raw logits", "none"},
    {0, nullptr, nullptr}};
constexpr GEnumValue kLatePolicies[] = {
    {static_cast<int>(LatePolicy::kProcess), "Infer every due frame, however late", "process"},
    {static_cast<int>(LatePolicy::kSkip), "Skip the inference of late frames", "skip"},
    {0, nullptr, nullptr}};

/// Shortens the calls below.
class Installer {
 public:
  explicit Installer(GObjectClass* object_class) : class_(object_class) {}

  void text(guint id, const char* name, const char* blurb, const std::string& value,
            GParamFlags flags) {
    add(id, g_param_spec_string(name, name, blurb, value.empty() ? nullptr : value.c_str(), flags));
  }
  void number(guint id, const char* name, const char* blurb, guint least, guint most, guint value,
              GParamFlags flags) {
    add(id, g_param_spec_uint(name, name, blurb, least, most, value, flags));
  }
  void real(guint id, const char* name, const char* blurb, double least, double most, double value,
            GParamFlags flags) {
    add(id, g_param_spec_double(name, name, blurb, least, most, value, flags));
  }
  void choice(guint id, const char* name, const char* blurb, GType type, int value,
              GParamFlags flags) {
    add(id, g_param_spec_enum(name, name, blurb, type, value, flags));
    gst_type_mark_as_plugin_api(type, static_cast<GstPluginAPIFlags>(0));
  }
  void add(guint id, GParamSpec* spec) { g_object_class_install_property(class_, id, spec); }

 private:
  GObjectClass* class_;
};

void install_model_properties(Installer& add) {
  add.text(kPropModel, "model",
           "Folder of the model in Hugging Face layout (config.json, model.safetensors); "
           "unset: the camera-state model that ships with gst-tome",
           kDefaults.model, kReady);
  add.text(
      kPropLabelsFile, "labels-file",
      "Text file with one label per line, in class order; unset: the model folder's own labels",
      kDefaults.labels_file, kReady);
  add.text(kPropDevice, "device",
           "Where to compute: auto (CUDA if it is usable, else the CPU), cpu, cuda, cuda:N",
           kDefaults.device, kReady);
  add.choice(kPropPrecision, "precision", "Number format of weights and products",
             enum_type<kPrecisions>("GstTomePrecision"), static_cast<int>(kDefaults.precision),
             kReady);
  add.text(kPropModelInstanceId, "model-instance-id",
           "Elements of a process with the same id share one model and its batches, and must be "
           "configured alike (to configure them anew set all of them to NULL first); unset: "
           "elements with equal configuration share",
           kDefaults.instance_id, kReady);
  add.number(kPropBatchSize, "batch-size",
             "Most frames, clips or regions in one forward pass, over all streams of the model", 1,
             1024, kDefaults.batch_size, kReady);
  add.number(kPropBatchTimeout, "batch-timeout",
             "Longest wait for a batch to fill, in milliseconds; adds to the latency when "
             "batch-size is above 1",
             0, 60000, kDefaults.batch_timeout_ms, kReady);
  add.add(kPropThreads,
          g_param_spec_int("threads", "threads",
                           "CPU threads of a forward pass, no more than the cores that the process "
                           "may use; 0: as many as there are cores",
                           0, 1024, kDefaults.threads, kReady));
}

void install_stream_properties(Installer& add) {
  add.text(kPropTomeR, "tome-r",
           "Tokens merged per block: 0 (off), 13 (constant), 16:-1 (from 32 down to 0), "
           "16,16,8,0 (per block), keep=0.5 (share of the MACs to keep); unset: the model's "
           "default. Takes effect from the next batch on",
           kDefaults.tome_r, kPlaying);
  add.choice(kPropTomePropAttn, "tome-prop-attn",
             "Proportional attention: whether merged tokens weigh by their size",
             enum_type<kPropAttns>("GstTomePropAttn"), kDefaults.prop_attn, kReady);
  add.real(
      kPropTomeStatic, "tome-static",
      "Clips: before the first block, merge runs of patches of one place that differ from the "
      "first of their run by at most so many grey levels on average; 0: exact repeats; negative: "
      "off",
      -1, 255, kDefaults.static_threshold, kReady);
  add.number(kPropInferenceInterval, "inference-interval",
             "Infer on every n-th frame (clip models: every n-th window); frames between carry "
             "the last result with its age",
             1, G_MAXUINT, kDefaults.inference_interval, kReady);
  add.choice(kPropInferenceRegion, "inference-region", "What is classified",
             enum_type<kRegions>("GstTomeInferenceRegion"), static_cast<int>(kDefaults.region),
             kReady);
  add.text(kPropObjectClass, "object-class",
           "With inference-region=roi-list: only regions of these types (comma-separated); unset: "
           "all regions",
           kDefaults.object_class, kReady);
  add.number(kPropReclassifyInterval, "reclassify-interval",
             "With inference-region=roi-list: classify a tracked region again every n-th frame and "
             "carry its last result between; 1: every frame, 0: once per tracking id. Regions "
             "without a tracking id are always classified",
             0, G_MAXUINT, kDefaults.reclassify_interval, kReady);
  add.number(kPropClipLength, "clip-length",
             "Frames in one window; 0: the model's own (1 for an image model)", 0, 1024,
             kDefaults.clip_length, kReady);
  add.number(kPropClipStride, "clip-stride",
             "Frames between the starts of two windows; 0: windows follow without overlap", 0,
             65536, kDefaults.clip_stride, kReady);
  add.number(kPropFrameStride, "frame-stride", "Every n-th frame enters the window", 1, 65536,
             kDefaults.frame_stride, kReady);
}

void install_result_properties(Installer& add) {
  add.number(kPropTopK, "top-k", "Most tags in one result, best first", 1, 65536, kDefaults.top_k,
             kReady);
  add.real(kPropThreshold, "threshold",
           "Tags with a lower score are left out; in units of the activation (a probability, or a "
           "logit with activation=none)",
           -G_MAXFLOAT, G_MAXFLOAT, kDefaults.threshold, kReady);
  add.choice(kPropActivation, "activation", "What turns the model's logits into scores",
             enum_type<kActivations>("GstTomeActivation"), kDefaults.activation, kReady);
  add.real(kPropSmoothing, "smoothing",
           "Weight of the past in the running mean of scores; 0: none, towards 1: slower", 0, 0.999,
           kDefaults.smoothing, kReady);
  add.choice(kPropLatePolicy, "late-policy",
             "What to do when a live stream or its sink runs late; buffers are never dropped",
             enum_type<kLatePolicies>("GstTomeLatePolicy"), static_cast<int>(kDefaults.late_policy),
             kPlaying);
  add.add(kPropPostMessages,
          g_param_spec_boolean("post-messages", "post-messages",
                               "Post each fresh result as an element message "
                               "GstTomeClassification (that of a window padded at EOS is posted "
                               "in any case, for no buffer carries it)",
                               kDefaults.post_messages, kPlaying));
  add.add(kPropStats, g_param_spec_boxed(
                          "stats", "stats",
                          "Since the last start: frames (uint64), inferences (uint64), skipped "
                          "(uint64), fps (double, over the last 256 frames), latency-p50 and "
                          "latency-p99 (double, milliseconds from entering the element to "
                          "leaving it, over the last 1024 frames), queue-p50 and inference-p50 "
                          "(double, milliseconds of waiting for a batch and of its forward pass, "
                          "over the last 1024 results), tokens-in and tokens-out "
                          "(uint, of the last inference), average-batch (double)",
                          GST_TYPE_STRUCTURE,
                          static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));
}

void read(const GValue* value, std::string& member) {
  const char* text = g_value_get_string(value);
  member = text != nullptr ? text : "";
}
void read(const GValue* value, unsigned& member) { member = g_value_get_uint(value); }
void read(const GValue* value, int& member) { member = g_value_get_int(value); }
void read(const GValue* value, double& member) { member = g_value_get_double(value); }
void read(const GValue* value, bool& member) { member = g_value_get_boolean(value) != FALSE; }
template <typename Enum>
requires std::is_enum_v<Enum>
void read(const GValue* value, Enum& member) {
  member = static_cast<Enum>(g_value_get_enum(value));
}

void write(GValue* value, const std::string& member) {
  g_value_set_string(value, member.empty() ? nullptr : member.c_str());
}
void write(GValue* value, unsigned member) { g_value_set_uint(value, member); }
void write(GValue* value, int member) { g_value_set_int(value, member); }
void write(GValue* value, double member) { g_value_set_double(value, member); }
void write(GValue* value, bool member) { g_value_set_boolean(value, member); }
template <typename Enum>
requires std::is_enum_v<Enum>
void write(GValue* value, Enum member) { g_value_set_enum(value, static_cast<int>(member)); }

/// A property and the setting that it is.
struct Field {
  guint id;
  std::variant<std::string Settings::*, unsigned Settings::*, int Settings::*, double Settings::*,
               bool Settings::*, Precision Settings::*, TomePropAttn Settings::*,
               InferenceRegion Settings::*, TomeActivation Settings::*, LatePolicy Settings::*>
      member;
};

constexpr Field kFields[] = {
    {kPropModel, &Settings::model},
    {kPropLabelsFile, &Settings::labels_file},
    {kPropDevice, &Settings::device},
    {kPropPrecision, &Settings::precision},
    {kPropTomeR, &Settings::tome_r},
    {kPropTomePropAttn, &Settings::prop_attn},
    {kPropTomeStatic, &Settings::static_threshold},
    {kPropModelInstanceId, &Settings::instance_id},
    {kPropBatchSize, &Settings::batch_size},
    {kPropBatchTimeout, &Settings::batch_timeout_ms},
    {kPropThreads, &Settings::threads},
    {kPropInferenceInterval, &Settings::inference_interval},
    {kPropInferenceRegion, &Settings::region},
    {kPropObjectClass, &Settings::object_class},
    {kPropReclassifyInterval, &Settings::reclassify_interval},
    {kPropClipLength, &Settings::clip_length},
    {kPropClipStride, &Settings::clip_stride},
    {kPropFrameStride, &Settings::frame_stride},
    {kPropTopK, &Settings::top_k},
    {kPropThreshold, &Settings::threshold},
    {kPropActivation, &Settings::activation},
    {kPropSmoothing, &Settings::smoothing},
    {kPropLatePolicy, &Settings::late_policy},
    {kPropPostMessages, &Settings::post_messages},
};

const Field* find_field(guint id) {
  const auto* found =
      std::find_if(std::begin(kFields), std::end(kFields), [&](auto& one) { return one.id == id; });
  return found != std::end(kFields) ? found : nullptr;
}

}  // namespace

void install_properties(GObjectClass* object_class) {
  Installer add(object_class);
  install_model_properties(add);
  install_stream_properties(add);
  install_result_properties(add);
}

bool set_property(Settings& settings, guint id, const GValue* value) {
  const Field* field = find_field(id);
  if (field == nullptr) return false;
  std::visit([&](auto member) { read(value, settings.*member); }, field->member);
  return true;
}

bool get_property(const Settings& settings, guint id, GValue* value) {
  const Field* field = find_field(id);
  if (field == nullptr) return false;
  std::visit([&](auto member) { write(value, settings.*member); }, field->member);
  return true;
}

const char* precision_name(Precision precision) {
  return kPrecisions[static_cast<int>(precision)].value_nick;
}

}  // namespace tome::gst
