#include "region_tracker.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

namespace tome::gst {
namespace {

/// The part of the region inside the frame; nothing if that is empty.
std::optional<TomeRegion> clip(const Detection& found, int width, int height) {
  // 64 bits: x + w of a hostile detector wraps around in 32.
  const int64_t x0 = std::clamp<int64_t>(found.x, 0, width);
  const int64_t y0 = std::clamp<int64_t>(found.y, 0, height);
  const int64_t x1 = std::min<int64_t>(found.x + found.width, width);
  const int64_t y1 = std::min<int64_t>(found.y + found.height, height);
  if (x1 <= x0 || y1 <= y0) return std::nullopt;
  return TomeRegion{static_cast<int32_t>(x0), static_cast<int32_t>(y0),
                    static_cast<int32_t>(x1 - x0), static_cast<int32_t>(y1 - y0)};
}

std::optional<int64_t> tracking_id(GstVideoRegionOfInterestMeta* roi) {
  gint id = 0;
  const GstStructure* param = gst_video_region_of_interest_meta_get_param(roi, "object_id");
  if (param != nullptr && gst_structure_get_int(param, "id", &id)) return id;
  if (roi->id != 0) return roi->id;
  return std::nullopt;
}

Detection detection_of(const GstVideoRegionOfInterestMeta& roi) {
  return {roi.roi_type, roi.x, roi.y, roi.w, roi.h, std::nullopt};
}

bool matches(const RegionTarget& target, const GstVideoRegionOfInterestMeta& roi) {
  return target.id == roi.id && target.found.place() == detection_of(roi).place();
}

Ptr<GstStructure> region_param(const Classification& result) {
  auto param = to_structure(result, "classification");
  if (!result.tags.empty()) {
    const Tag& best = result.tags.front();
    gst_structure_set(param.get(), "label", G_TYPE_STRING, best.label.c_str(), "label-id",
                      G_TYPE_INT, static_cast<int>(best.id), "score", G_TYPE_DOUBLE, best.score,
                      nullptr);
  }
  return param;
}

}  // namespace

std::vector<TomeRegion> RegionPlan::submitted() const {
  std::vector<TomeRegion> regions;
  for (const auto& target : targets) {
    if (target.submitted) regions.push_back(target.clipped);
  }
  return regions;
}

void RegionTracker::configure(const std::string& object_classes, unsigned reclassify_interval) {
  const std::scoped_lock lock(mutex_);
  types_.clear();
  std::istringstream names(object_classes);
  for (std::string name; std::getline(names, name, ',');) {
    const auto first = name.find_first_not_of(" \t");
    if (first == std::string::npos) continue;
    name = name.substr(first, name.find_last_not_of(" \t") - first + 1);
    types_.push_back(g_quark_from_string(name.c_str()));
  }
  interval_ = reclassify_interval;
  tracks_.clear();
}

void RegionTracker::reset() {
  const std::scoped_lock lock(mutex_);
  tracks_.clear();
}

bool RegionTracker::wanted(GQuark type) const {
  return types_.empty() || std::find(types_.begin(), types_.end(), type) != types_.end();
}

bool RegionTracker::due(RegionTarget& target) {
  if (!target.found.track || interval_ == 1) return true;
  Track& track = tracks_[*target.found.track];
  if (std::exchange(track.seen, frame_) == frame_) {
    target.found.track.reset();
    return true;
  }
  const bool now = !track.submitted || (interval_ > 0 && frame_ - *track.submitted >= interval_);
  if (now) track.submitted = frame_;
  return now;
}

void RegionTracker::forget_old() {
  if (frame_ % kForgetAfter != 0) return;
  std::erase_if(tracks_,
                [&](const auto& entry) { return frame_ - entry.second.seen > kForgetAfter; });
}

RegionPlan RegionTracker::plan(GstBuffer* buffer, int width, int height) {
  const std::scoped_lock lock(mutex_);
  RegionPlan plan;
  plan.active = true;
  plan.frame = ++frame_;
  forget_old();
  gpointer state = nullptr;
  while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
             buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
    auto* roi = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
    Detection found = detection_of(*roi);
    found.track = tracking_id(roi);
    add_target(plan, found, roi->id, width, height);
  }
  const std::vector<Detection> detections = detections_on(buffer);
  if (detections.empty()) return plan;
  std::set<decltype(Detection().place())> known;
  for (const RegionTarget& target : plan.targets) known.insert(target.found.place());
  for (const Detection& found : detections) {
    if (!known.contains(found.place())) add_target(plan, found, 0, width, height);
  }
  return plan;
}

void RegionTracker::add_target(RegionPlan& plan, Detection found, int id, int width, int height) {
  if (!wanted(found.type)) return;
  const auto clipped = clip(found, width, height);
  if (!clipped) return;
  RegionTarget target{found, id, *clipped, false};
  target.submitted = due(target);
  plan.targets.push_back(target);
}

std::vector<RegionResult> RegionTracker::resolve(const RegionPlan& plan,
                                                 std::vector<Classification> fresh) {
  const std::scoped_lock lock(mutex_);
  std::vector<RegionResult> results;
  size_t next_fresh = 0;
  for (size_t i = 0; i < plan.targets.size(); ++i) {
    const RegionTarget& target = plan.targets[i];
    const auto track_id = target.found.track;
    const auto found = track_id && interval_ != 1 ? tracks_.find(*track_id) : tracks_.end();
    Track* track = found != tracks_.end() ? &found->second : nullptr;
    if (target.submitted && next_fresh < fresh.size()) {
      Classification& result = fresh[next_fresh++];
      if (track != nullptr) {
        track->result = result;
        track->classified = plan.frame;
      }
      results.push_back({i, std::move(result)});
      continue;
    }
    if (track == nullptr) continue;
    if (target.submitted) track->submitted.reset();  // did not take place: due again
    if (!track->result) continue;
    Classification held = *track->result;
    held.age = static_cast<unsigned>(plan.frame - track->classified);
    held.region = {target.clipped.x, target.clipped.y, target.clipped.width, target.clipped.height};
    results.push_back({i, std::move(held)});
  }
  return results;
}

void attach_region_classes(GstBuffer* buffer, const RegionPlan& plan,
                           const std::vector<RegionResult>& results) {
  std::vector<DetectionClasses> classes;
  classes.reserve(results.size());
  for (const auto& one : results) {
    classes.push_back({plan.targets[one.target].found, &one.result});
  }
  attach_classes(buffer, classes);
}

void attach_region_params(GstBuffer* buffer, const RegionPlan& plan,
                          const std::vector<RegionResult>& results) {
  // Targets stand in the order of the metas and copying a buffer keeps it, so one pass over both is
  // enough, however many regions there are.
  size_t target = 0;
  size_t result = 0;
  gpointer state = nullptr;
  while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
             buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
    if (result == results.size()) return;
    auto* roi = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
    if (target == plan.targets.size() || !matches(plan.targets[target], *roi)) continue;
    if (results[result].target == target) {
      gst_video_region_of_interest_meta_add_param(roi,
                                                  region_param(results[result].result).release());
      ++result;
    }
    ++target;
  }
}

}  // namespace tome::gst
