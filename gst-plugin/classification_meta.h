// What was recognised, as it travels on buffers, events and messages.
#pragma once

#include <gst/gst.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/result_parts.h"
#include "gst_ptr.h"

namespace tome::gst {

/// Name of the custom meta, of the event at EOS, and of the element message.
inline constexpr const char* kClassificationName = "GstTomeClassification";

using Tag = ResultTag;
using DetectedObject = ResultObject;

/// One result: one model's view of one region.
struct Classification {
  std::string model;
  std::string element;  ///< name of the element that classified; empty: not known
  std::optional<std::array<int, 4>> region;  ///< x, y, width, height in pixels; none: full frame
  std::optional<std::array<int, 2>> frame_size;  ///< of the picture in which `region` counts
  std::optional<DetectedObject> object;          ///< of a region; none: not known
  GstClockTime clip_start = GST_CLOCK_TIME_NONE;
  GstClockTime clip_end = GST_CLOCK_TIME_NONE;
  unsigned frames = 1;
  unsigned age = 0;       ///< frames since the result was fresh
  std::vector<Tag> tags;  ///< best first
  unsigned tokens_in = 0, tokens_out = 0;
};

// Note [The metadata is a plain structure]
// GstTomeClassification is an untagged GstCustomMeta, so every element that copies unknown metas
// carries it along, and it holds only types that bindings know (strings, integers, doubles,
// GstValueArray, GstStructure), so Python and C read it with no header of ours. docs/metadata.md
// lists the fields.

/// Makes the custom meta known to GStreamer. Called from each plugin's init, which GStreamer runs
/// under a lock; the second plugin finds it registered.
bool register_classification_meta();

/// One result as a structure (fields: see docs/metadata.md).
Ptr<GstStructure> to_structure(const Classification& result, const char* name = "result");
/// Back again; fields that are missing or of another type keep their defaults.
Classification from_structure(const GstStructure* structure);

/// A structure named GstTomeClassification whose array `results` holds `results`: the payload of
/// the event at EOS and of the element message.
Ptr<GstStructure> results_structure(std::span<const Classification> results);
/// The array `results` of such a structure; empty if there is none.
std::vector<Classification> results_of(const GstStructure* structure);

/// Attaches `results`, after those that an earlier element attached. `buffer` must be writable.
void attach_results(GstBuffer* buffer, std::span<const Classification> results);
/// All results on a buffer.
std::vector<Classification> results_of(GstBuffer* buffer);

}  // namespace tome::gst
