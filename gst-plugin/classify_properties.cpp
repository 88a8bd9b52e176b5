// Ranges and meanings of tomeclassify's properties.
#include <gst/gst.h>

#include <iterator>

#include "classify_settings.h"
#include "property_table.h"

namespace tome::gst {
namespace {

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

using S = Settings;

constexpr Property<S> kTable[] = {
    {"model",
     "Folder of the model in Hugging Face layout (config.json, model.safetensors); "
     "unset: the camera-state model that ships with gst-tome",
     kReady, &S::model},
    {"labels-file",
     "Text file with one label per line, in class order; unset: the model folder's own labels",
     kReady, &S::labels_file},
    {"device", "Where to compute: auto (CUDA if it is usable, else the CPU), cpu, cuda, cuda:N",
     kReady, &S::device},
    {"precision", "Number format of weights and products", kReady,
     choice<S, &S::precision>("GstTomePrecision", kPrecisions)},
    {"tome-r",
     "Tokens merged per block: 0 (off), 13 (constant), 16:-1 (from 32 down to 0), "
     "16,16,8,0 (per block), keep=0.5 (share of the MACs to keep); unset: the model's "
     "default. Takes effect from the next batch on",
     kPlaying, &S::tome_r},
    {"tome-prop-attn", "Proportional attention: whether merged tokens weigh by their size", kReady,
     choice<S, &S::prop_attn>("GstTomePropAttn", kPropAttns)},
    {"tome-static",
     "Clips: before the first block, merge runs of patches of one place that differ from the "
     "first of their run by at most so many grey levels on average; 0: exact repeats; negative: "
     "off",
     kReady, &S::static_threshold, -1, 255},
    {"model-instance-id",
     "Elements of a process with the same id share one model and its batches, and must be "
     "configured alike (to configure them anew set all of them to NULL first); unset: "
     "elements with equal configuration share",
     kReady, &S::instance_id},
    {"batch-size",
     "Most frames, clips or regions in one forward pass, over all streams of the model", kReady,
     &S::batch_size, 1, 1024},
    {"batch-timeout",
     "Longest wait for a batch to fill, in milliseconds; adds to the latency when "
     "batch-size is above 1",
     kReady, &S::batch_timeout_ms, 0, 60000},
    {"threads",
     "CPU threads of a forward pass, no more than the cores that the process "
     "may use; 0: as many as there are cores",
     kReady, &S::threads, 0, 1024},
    {"inference-interval",
     "Infer on every n-th frame (clip models: every n-th window); frames between carry "
     "the last result with its age. Takes effect from the next frame on",
     kPlaying, &S::inference_interval, 1, G_MAXUINT},
    {"inference-region", "What is classified", kReady,
     choice<S, &S::region>("GstTomeInferenceRegion", kRegions)},
    {"object-class",
     "With inference-region=roi-list: only regions of these types (comma-separated); unset: "
     "all regions",
     kReady, &S::object_class},
    {"reclassify-interval",
     "With inference-region=roi-list: classify a tracked region again every n-th frame and "
     "carry its last result between; 1: every frame, 0: once per tracking id. Regions "
     "without a tracking id are always classified",
     kReady, &S::reclassify_interval, 0, G_MAXUINT},
    {"clip-length", "Frames in one window; 0: the model's own (1 for an image model)", kReady,
     &S::clip_length, 0, 1024},
    {"clip-stride", "Frames between the starts of two windows; 0: windows follow without overlap",
     kReady, &S::clip_stride, 0, 65536},
    {"frame-stride", "Every n-th frame enters the window", kReady, &S::frame_stride, 1, 65536},
    {"top-k", "Most tags in one result, best first. Takes effect from the next frame on", kPlaying,
     &S::top_k, 1, 65536},
    {"threshold",
     "Tags with a lower score are left out; in units of the activation (a probability, or a "
     "logit with activation=none); 0: none is. Takes effect from the next frame on",
     kPlaying, &S::threshold, -G_MAXFLOAT, G_MAXFLOAT},
    {"activation", "What turns the model's logits into scores", kReady,
     choice<S, &S::activation>("GstTomeActivation", kActivations)},
    {"smoothing",
     "Weight of the past in the running mean of scores; 0: none, towards 1: slower. Of the stream, "
     "so without effect on regions (inference-region=roi-list)",
     kReady, &S::smoothing, 0, 0.999},
    {"late-policy",
     "What to do when a live stream or its sink runs late; buffers are never dropped", kPlaying,
     choice<S, &S::late_policy>("GstTomeLatePolicy", kLatePolicies)},
    {"post-messages",
     "Post each fresh result as an element message "
     "GstTomeClassification (that of a window padded at EOS is posted "
     "in any case, for no buffer carries it)",
     kPlaying, &S::post_messages},
};
static_assert(std::size(kTable) < kPropStats);

}  // namespace

void install_properties(GObjectClass* object_class) {
  install_table(object_class, kTable);
  g_object_class_install_property(
      object_class, kPropStats,
      g_param_spec_boxed("stats", "stats",
                         "Since the last start: frames (uint64), inferences (uint64), skipped "
                         "(uint64), fps (double, over the last 256 frames), latency-p50 and "
                         "latency-p99 (double, milliseconds from entering the element to "
                         "leaving it, over the last 1024 frames), queue-p50 and inference-p50 "
                         "(double, milliseconds of waiting for a batch and of its forward pass, "
                         "over the last 1024 results), tokens-in and tokens-out "
                         "(uint, of the last inference), average-batch (double), device and "
                         "precision (string, as chosen; while a model is open)",
                         GST_TYPE_STRUCTURE,
                         static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));
}

bool set_property(Settings& settings, guint id, const GValue* value) {
  return set_in_table(kTable, settings, id, value);
}

bool get_property(const Settings& settings, guint id, GValue* value) {
  return get_from_table(kTable, settings, id, value);
}

std::vector<const char*> changed_for_next_start(const Settings& before, const Settings& after) {
  return late_in_table(kTable, before, after);
}

const char* precision_name(Precision precision) {
  return kPrecisions[static_cast<int>(precision)].value_nick;
}

}  // namespace tome::gst
