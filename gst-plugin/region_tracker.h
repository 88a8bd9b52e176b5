// Regions that a detector attached: which to classify on this frame, and where results go.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <cstdint>
#include <memory>
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
  TomeRegion clipped{};  ///< the part inside the frame
  bool submitted = false;
};

/// What is known of one tracking id.
struct RegionTrack {
  uint64_t seen = 0;                  ///< last frame that had it
  std::optional<uint64_t> submitted;  ///< frame of the last submission
  uint64_t classified = 0;            ///< frame of `result`
  uint64_t era = 0;                   ///< of `result`: see RegionTracker::forget
  std::optional<Classification> result;
};
using RegionTracks = std::unordered_map<int64_t, RegionTrack>;

/// What is to happen to one frame's regions.
struct RegionPlan {
  bool active = false;        ///< inference-region=roi-list
  int width = 0, height = 0;  ///< of the picture that is looked at, whatever is classified in it
  uint64_t frame = 0;
  std::vector<RegionTarget> targets;
  std::shared_ptr<RegionTracks> tracks;  ///< Note [Generations of tracks]

  /// The rectangles to classify now, in the order of `targets`.
  std::vector<TomeRegion> submitted() const;
  /// Whether there is anything to classify: full frames always, else a submitted region.
  bool asks() const;
};

/// A target's result, fresh or held.
struct RegionResult {
  size_t target = 0;
  Classification result;
};

// Note [Tracked regions]
// A tracking id is the integer `id` of the region's param `object_id` (as DL Streamer's gvatrack
// writes it), else the meta's own id if it is not 0; of a GstAnalyticsODMtd, the id of its
// GstAnalyticsTrackingMtd. With reclassify-interval other than 1 a tracked region is classified
// every n-th frame only. On frames without an inference (between, for inference-interval, or
// because it was late) a tracked region carries its last result, with its age. Of two regions with
// one id in one frame the second counts as untracked: it is another object, whatever the tracker
// says. An id that was not seen for kForgetAfter frames is forgotten within as many more, so memory
// does not grow with time.

// Note [Generations of tracks]
// Frames are planned well before they are resolved. So a discontinuity starts new tracks, and each
// plan keeps those it was made with: frames before it still find their held results, and what comes
// late for them stays among them. A generation goes with its last plan.

// Note [Due frames]
// Of inference-interval frames the core infers on the first; it counts those it is given, from the
// last one that was due, and it is given all (ClassifyElement::submit). This counts along, because
// a region that is submitted on another frame is not classified then and stays due: the next
// frames, planned before that is known, must submit it again. Were the two counts apart, results
// would come later or once more, but they would come.

/// Plans on the sink pad's thread, resolves on the source pad's task.
class RegionTracker {
 public:
  void configure(const std::string& object_classes, unsigned reclassify_interval);
  /// The next frame does not continue the one before.
  void restart();
  /// As restart(), and results of frames before hold no more for those that are planned already.
  void forget();
  /// The core was flushed and counts its frames anew.
  void recount();

  /// Regions of the wanted types that lie in the frame at least in part; empty ones and those
  /// outside are left alone. One that a detector wrote as both kinds of meta counts once. The core
  /// infers on every `inference_interval`-th frame.
  RegionPlan plan(GstBuffer* buffer, int width, int height, unsigned inference_interval);

  /// Results of the plan's targets: `fresh` holds one for each submitted target, or is empty if the
  /// inference did not take place.
  std::vector<RegionResult> resolve(const RegionPlan& plan, std::vector<Classification> fresh);

 private:
  static constexpr uint64_t kForgetAfter = 300;

  void add_target(RegionPlan& plan, const Detection& found);
  bool wanted(GQuark type) const;
  bool due(RegionTarget& target);
  void start_tracks();
  void forget_old();
  std::optional<Classification> held(const RegionPlan& plan, const RegionTarget& target,
                                     RegionTrack& track) const;

  std::mutex mutex_;
  std::vector<GQuark> types_;
  unsigned interval_ = 1;
  uint64_t frame_ = 0;
  bool due_frame_ = true;             // the core infers on the frame that is being planned
  std::optional<uint64_t> last_due_;  // such a frame, since the core began to count
  uint64_t era_ = 0;
  std::shared_ptr<RegionTracks> tracks_ = std::make_shared<RegionTracks>();
};

/// Writes the detector's type and id into the results of the submitted targets.
void name_objects(const RegionPlan& plan, std::vector<Classification>& fresh);

/// Adds the param `classification` to the ROI metas of a writable buffer. Fields: those of a
/// result, and label, label-id and score of its best tag.
void attach_region_params(GstBuffer* buffer, const RegionPlan& plan,
                          const std::vector<RegionResult>& results);

/// The same as GstAnalyticsClsMtd: see attach_classes.
void attach_region_classes(GstBuffer* buffer, const RegionPlan& plan,
                           const std::vector<RegionResult>& results);

}  // namespace tome::gst
