// Regions that a detector attached: which to classify on this frame, and where results go.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "analytics_meta.h"
#include "classification_meta.h"
#include "engine/c_api.h"

namespace tome::gst {

/// A region of one frame: a GstVideoRegionOfInterestMeta or a GstAnalyticsODMtd. The meta itself
/// may move with the buffer, so it is known by what is in it.
struct RegionTarget {
  Detection found;
  int id = 0;            ///< of the GstVideoRegionOfInterestMeta
  TomeRegion clipped{};  ///< the part inside the frame
  bool submitted = false;
};

/// What is to happen to one frame's regions.
struct RegionPlan {
  bool active = false;  ///< inference-region=roi-list
  uint64_t frame = 0;
  std::vector<RegionTarget> targets;

  /// The rectangles to classify now, in the order of `targets`.
  std::vector<TomeRegion> submitted() const;
};

/// A target's result, fresh or held.
struct RegionResult {
  size_t target = 0;
  Classification result;
};

// Note [Tracked regions]
// A tracking id is the integer `id` of the region's param `object_id` (as DL Streamer's gvatrack
// writes it), else the meta's own id if it is not 0; of a GstAnalyticsODMtd, the id of its
// GstAnalyticsTrackingMtd. With reclassify-interval other than 1 a
// tracked region is classified every n-th frame only and carries its last result, with its age,
// between. Of two regions with one id in one frame the second counts as untracked: it is another
// object, whatever the tracker says. An id that was not seen for kForgetAfter frames is forgotten,
// so memory does not grow with time.

/// Plans on the sink pad's thread, resolves on the source pad's task.
class RegionTracker {
 public:
  void configure(const std::string& object_classes, unsigned reclassify_interval);
  void reset();

  /// Regions of the wanted types that lie in the frame at least in part; empty ones and those
  /// outside are left alone. One that a detector wrote as both kinds of meta counts once.
  RegionPlan plan(GstBuffer* buffer, int width, int height);

  /// Results of the plan's targets: `fresh` holds one for each submitted target, or is empty if the
  /// inference did not take place.
  std::vector<RegionResult> resolve(const RegionPlan& plan, std::vector<Classification> fresh);

 private:
  static constexpr uint64_t kForgetAfter = 300;

  struct Track {
    uint64_t seen = 0;
    std::optional<uint64_t> submitted;  // frame of the last submission
    uint64_t classified = 0;            // frame of `result`
    std::optional<Classification> result;
  };

  void add_target(RegionPlan& plan, Detection found, int id, int width, int height);
  bool wanted(GQuark type) const;
  bool due(RegionTarget& target);
  void forget_old();

  std::mutex mutex_;
  std::vector<GQuark> types_;
  unsigned interval_ = 1;
  uint64_t frame_ = 0;
  std::unordered_map<int64_t, Track> tracks_;
};

/// Adds the param `classification` to the ROI metas of a writable buffer. Fields: those of a
/// result, and label, label-id and score of its best tag.
void attach_region_params(GstBuffer* buffer, const RegionPlan& plan,
                          const std::vector<RegionResult>& results);

/// The same as GstAnalyticsClsMtd: see attach_classes.
void attach_region_classes(GstBuffer* buffer, const RegionPlan& plan,
                           const std::vector<RegionResult>& results);

}  // namespace tome::gst
