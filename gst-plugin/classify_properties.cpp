// Ranges, defaults and meanings of tomeclassify's properties.
#include "classify_settings.h"

#include <gst/gst.h>

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
    {0, nullptr, nullptr}};
constexpr GEnumValue kPropAttns[] = {
    {TOME_PROP_ATTN_AUTO, "On for models with a class token, off for those that pool", "auto"},
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
           "configured alike; unset: elements with equal configuration share",
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
                           "CPU threads of a forward pass; 0: as many as there are cores", 0, 1024,
                           kDefaults.threads, kReady));
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
      "Clips: before the first block, merge patches that differ from the frame before by at most "
      "so many grey levels on average; 0: exact repeats; negative: off",
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
             "Frames in one window; 0: the model's own (1 for an image model)", 0, 4096,
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
  add.add(kPropStats,
          g_param_spec_boxed("stats", "stats",
                             "Since the last start: frames (uint64), inferences (uint64), skipped "
                             "(uint64), fps (double, over the last 256 frames), latency-p50 and "
                             "latency-p99 (double, milliseconds from entering the element to "
                             "leaving it, over the last 1024 frames), tokens-in and tokens-out "
                             "(uint, of the last inference), average-batch (double)",
                             GST_TYPE_STRUCTURE,
                             static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));
}

std::string text_of(const GValue* value) {
  const char* text = g_value_get_string(value);
  return text != nullptr ? text : "";
}

void set_text(GValue* value, const std::string& text) {
  g_value_set_string(value, text.empty() ? nullptr : text.c_str());
}

}  // namespace

void install_properties(GObjectClass* object_class) {
  Installer add(object_class);
  install_model_properties(add);
  install_stream_properties(add);
  install_result_properties(add);
}

bool set_property(Settings& s, guint id, const GValue* value) {
  switch (id) {
    case kPropModel:
      s.model = text_of(value);
      break;
    case kPropLabelsFile:
      s.labels_file = text_of(value);
      break;
    case kPropDevice:
      s.device = text_of(value);
      break;
    case kPropPrecision:
      s.precision = static_cast<Precision>(g_value_get_enum(value));
      break;
    case kPropTomeR:
      s.tome_r = text_of(value);
      break;
    case kPropTomePropAttn:
      s.prop_attn = static_cast<TomePropAttn>(g_value_get_enum(value));
      break;
    case kPropModelInstanceId:
      s.instance_id = text_of(value);
      break;
    case kPropBatchSize:
      s.batch_size = g_value_get_uint(value);
      break;
    case kPropBatchTimeout:
      s.batch_timeout_ms = g_value_get_uint(value);
      break;
    case kPropThreads:
      s.threads = g_value_get_int(value);
      break;
    case kPropTomeStatic:
      s.static_threshold = g_value_get_double(value);
      break;
    case kPropInferenceInterval:
      s.inference_interval = g_value_get_uint(value);
      break;
    case kPropInferenceRegion:
      s.region = static_cast<InferenceRegion>(g_value_get_enum(value));
      break;
    case kPropObjectClass:
      s.object_class = text_of(value);
      break;
    case kPropReclassifyInterval:
      s.reclassify_interval = g_value_get_uint(value);
      break;
    case kPropClipLength:
      s.clip_length = g_value_get_uint(value);
      break;
    case kPropClipStride:
      s.clip_stride = g_value_get_uint(value);
      break;
    case kPropFrameStride:
      s.frame_stride = g_value_get_uint(value);
      break;
    case kPropTopK:
      s.top_k = g_value_get_uint(value);
      break;
    case kPropThreshold:
      s.threshold = g_value_get_double(value);
      break;
    case kPropActivation:
      s.activation = static_cast<TomeActivation>(g_value_get_enum(value));
      break;
    case kPropSmoothing:
      s.smoothing = g_value_get_double(value);
      break;
    case kPropLatePolicy:
      s.late_policy = static_cast<LatePolicy>(g_value_get_enum(value));
      break;
    case kPropPostMessages:
      s.post_messages = g_value_get_boolean(value) != FALSE;
      break;
    default:
      return false;
  }
  return true;
}

bool get_property(const Settings& s, guint id, GValue* value) {
  switch (id) {
    case kPropModel:
      set_text(value, s.model);
      break;
    case kPropLabelsFile:
      set_text(value, s.labels_file);
      break;
    case kPropDevice:
      set_text(value, s.device);
      break;
    case kPropPrecision:
      g_value_set_enum(value, static_cast<int>(s.precision));
      break;
    case kPropTomeR:
      set_text(value, s.tome_r);
      break;
    case kPropTomePropAttn:
      g_value_set_enum(value, s.prop_attn);
      break;
    case kPropModelInstanceId:
      set_text(value, s.instance_id);
      break;
    case kPropBatchSize:
      g_value_set_uint(value, s.batch_size);
      break;
    case kPropBatchTimeout:
      g_value_set_uint(value, s.batch_timeout_ms);
      break;
    case kPropThreads:
      g_value_set_int(value, s.threads);
      break;
    case kPropTomeStatic:
      g_value_set_double(value, s.static_threshold);
      break;
    case kPropInferenceInterval:
      g_value_set_uint(value, s.inference_interval);
      break;
    case kPropInferenceRegion:
      g_value_set_enum(value, static_cast<int>(s.region));
      break;
    case kPropObjectClass:
      set_text(value, s.object_class);
      break;
    case kPropReclassifyInterval:
      g_value_set_uint(value, s.reclassify_interval);
      break;
    case kPropClipLength:
      g_value_set_uint(value, s.clip_length);
      break;
    case kPropClipStride:
      g_value_set_uint(value, s.clip_stride);
      break;
    case kPropFrameStride:
      g_value_set_uint(value, s.frame_stride);
      break;
    case kPropTopK:
      g_value_set_uint(value, s.top_k);
      break;
    case kPropThreshold:
      g_value_set_double(value, s.threshold);
      break;
    case kPropActivation:
      g_value_set_enum(value, s.activation);
      break;
    case kPropSmoothing:
      g_value_set_double(value, s.smoothing);
      break;
    case kPropLatePolicy:
      g_value_set_enum(value, static_cast<int>(s.late_policy));
      break;
    case kPropPostMessages:
      g_value_set_boolean(value, s.post_messages);
      break;
    default:
      return false;
  }
  return true;
}

const char* precision_name(Precision precision) {
  return kPrecisions[static_cast<int>(precision)].value_nick;
}

}  // namespace tome::gst
