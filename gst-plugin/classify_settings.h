// The properties of tomeclassify as plain values, and their place in GObject.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/c_api.h"

namespace tome::gst {

enum class Precision { kAuto, kFp32, kBf16, kFp16, kInt8 };
enum class InferenceRegion { kFullFrame, kRoiList };
enum class LatePolicy { kProcess, kSkip };

/// What the user set. Defaults here are the defaults of the properties.
struct Settings {
  std::string model;
  std::string labels_file;
  std::string device = "auto";
  Precision precision = Precision::kAuto;
  std::string tome_r;
  TomePropAttn prop_attn = TOME_PROP_ATTN_AUTO;
  std::string instance_id;
  unsigned batch_size = 1;
  unsigned batch_timeout_ms = 5;
  int threads = 0;
  unsigned inference_interval = 1;
  InferenceRegion region = InferenceRegion::kFullFrame;
  std::string object_class;
  unsigned reclassify_interval = 1;
  unsigned clip_length = 0;
  unsigned clip_stride = 0;
  unsigned frame_stride = 1;
  unsigned top_k = 5;
  double threshold = 0;
  TomeActivation activation = TOME_ACTIVATION_AUTO;
  double smoothing = 0;
  double static_threshold = -1;
  LatePolicy late_policy = LatePolicy::kProcess;
  bool post_messages = false;

  bool operator==(const Settings&) const = default;
};

/// The identifier of property `stats`, which is no setting.
inline constexpr guint kPropStats = 32;

/// Installs every property, documented, in `object_class`.
void install_properties(GObjectClass* object_class);

/// Writes property `id` into `settings`; false if there is no such writable property.
bool set_property(Settings& settings, guint id, const GValue* value);
/// Reads property `id` from `settings`; false if it is not one of the settings (stats).
bool get_property(const Settings& settings, guint id, GValue* value);

/// Names of the properties that differ and count from the next start only.
std::vector<const char*> changed_for_next_start(const Settings& before, const Settings& after);

/// "fp32" and so on, as the core spells them.
const char* precision_name(Precision precision);

}  // namespace tome::gst
