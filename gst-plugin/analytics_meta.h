// GStreamer's own metadata for analysis (GstAnalytics, since 1.24): regions in, classes out.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "classification_meta.h"

namespace tome::gst {

// Note [Built without GstAnalytics]
// gstreamer-analytics-1.0 comes with 1.24. Where meson does not find it, these functions do
// nothing, and the custom meta alone carries the results.

// Note [Many regions in GstAnalytics]
// A GstAnalyticsRelationMeta keeps an n x n matrix of relations, so a frame with thousands of
// regions would cost many megabytes and milliseconds. Frames with more than kMostRelated results
// get none of it; the custom meta and the regions' params carry them all.
inline constexpr size_t kMostRelated = 512;

/// A region as a detector wrote it (GstAnalyticsODMtd), in pixels of the frame.
struct Detection {
  GQuark type = 0;
  int64_t x = 0, y = 0, width = 0, height = 0;
  std::optional<int64_t> track;  ///< of a related GstAnalyticsTrackingMtd
  int id = 0;                    ///< of the GstAnalyticsODMtd in its relation meta

  /// What makes two of them the same.
  auto place() const { return std::tuple(type, x, y, width, height); }
};

/// What was found in a region.
struct DetectionClasses {
  Detection where;
  const Classification* what = nullptr;
};

#ifdef TOME_HAVE_ANALYTICS

/// The regions that are on a buffer.
std::vector<Detection> detections_on(GstBuffer* buffer);

/// Adds a GstAnalyticsClsMtd for each result of the full frame. `buffer` must be writable.
void attach_classes(GstBuffer* buffer, std::span<const Classification> results);

/// Adds a GstAnalyticsClsMtd for each result, related (RELATE_TO, both ways) to the
/// GstAnalyticsODMtd of its region, which is added too if there is none. `buffer` must be writable.
/// Nothing for more than kMostRelated results.
void attach_classes(GstBuffer* buffer, std::span<const DetectionClasses> results);

#else

inline std::vector<Detection> detections_on(GstBuffer*) { return {}; }
inline void attach_classes(GstBuffer*, std::span<const Classification>) {}
inline void attach_classes(GstBuffer*, std::span<const DetectionClasses>) {}

#endif

}  // namespace tome::gst
