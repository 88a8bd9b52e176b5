#include "region_tracker.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "media/region_clip.h"

namespace tome::gst {
namespace {

/// The part of the region inside the frame; nothing if the core would give no result for it.
std::optional<TomeRegion> clip(const Detection& found, int width, int height) {
  const auto inside = clip_to_frame({found.x, found.y, found.width, found.height}, width, height);
  if (!inside) return std::nullopt;
  return TomeRegion{static_cast<int32_t>(inside->x), static_cast<int32_t>(inside->y),
                    static_cast<int32_t>(inside->width), static_cast<int32_t>(inside->height)};
}

std::optional<int64_t> tracking_id(GstVideoRegionOfInterestMeta* roi) {
  gint id = 0;
  const GstStructure* param = gst_video_region_of_interest_meta_get_param(roi, "object_id");
  if (param != nullptr && gst_structure_get_int(param, "id", &id)) return id;
  if (roi->id != 0) return roi->id;
  return std::nullopt;
}

Detection detection_of(const GstVideoRegionOfInterestMeta& roi) {
  return {roi.roi_type, roi.x, roi.y, roi.w, roi.h, std::nullopt, roi.id};
}

bool matches(const RegionTarget& target, const GstVideoRegionOfInterestMeta& roi) {
  return target.found.id == roi.id && target.found.place() == detection_of(roi).place();
}

/// By the tracker's id, where there is one: trackers may leave the region's own at zero. A type may
/// be any bytes, and structures hold text.
DetectedObject object_of(const Detection& found) {
  const char* type = g_quark_to_string(found.type);
  const Ptr<char> text(g_utf8_make_valid(type != nullptr ? type : "", -1));
  return {text.get(), found.track.value_or(found.id)};
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

bool RegionPlan::asks() const {
  return !active || std::any_of(targets.begin(), targets.end(),
                                [](const RegionTarget& target) { return target.submitted; });
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
  last_due_.reset();
  start_tracks();
}

void RegionTracker::start_tracks() { tracks_ = std::make_shared<RegionTracks>(); }

void RegionTracker::restart() {
  const std::scoped_lock lock(mutex_);
  start_tracks();
}

void RegionTracker::forget() {
  const std::scoped_lock lock(mutex_);
  start_tracks();
  ++era_;
}

void RegionTracker::recount() {
  const std::scoped_lock lock(mutex_);
  last_due_.reset();
}

bool RegionTracker::wanted(GQuark type) const {
  return types_.empty() || std::find(types_.begin(), types_.end(), type) != types_.end();
}

bool RegionTracker::due(RegionTarget& target) {
  if (!target.found.track) return true;
  RegionTrack& track = (*tracks_)[*target.found.track];
  if (std::exchange(track.seen, frame_) == frame_) {
    target.found.track.reset();
    return true;
  }
  const bool now = !track.submitted || (interval_ > 0 && frame_ - *track.submitted >= interval_);
  if (now && due_frame_) track.submitted = frame_;
  return now;
}

void RegionTracker::forget_old() {
  if (frame_ % kForgetAfter != 0) return;
  std::erase_if(*tracks_,
                [&](const auto& entry) { return frame_ - entry.second.seen > kForgetAfter; });
}

RegionPlan RegionTracker::plan(GstBuffer* buffer, int width, int height,
                               unsigned inference_interval) {
  const std::scoped_lock lock(mutex_);
  forget_old();
  RegionPlan plan{true, width, height, ++frame_, {}, tracks_};
  due_frame_ = !last_due_ || frame_ - *last_due_ >= inference_interval;
  if (due_frame_) last_due_ = frame_;
  gpointer state = nullptr;
  while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
             buffer, &state, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
    auto* roi = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
    Detection found = detection_of(*roi);
    found.track = tracking_id(roi);
    add_target(plan, found);
  }
  const std::vector<Detection> detections = detections_on(buffer);
  if (detections.empty()) return plan;
  std::set<decltype(Detection().place())> known;
  for (const RegionTarget& target : plan.targets) known.insert(target.found.place());
  for (const Detection& found : detections) {
    if (!known.contains(found.place())) add_target(plan, found);
  }
  return plan;
}

void RegionTracker::add_target(RegionPlan& plan, const Detection& found) {
  if (!wanted(found.type)) return;
  const auto clipped = clip(found, plan.width, plan.height);
  if (!clipped) return;
  RegionTarget target{found, *clipped, false};
  target.submitted = due(target);
  plan.targets.push_back(target);
}

/// The track's last result as it stands on a frame on which it was not classified.
std::optional<Classification> RegionTracker::held(const RegionPlan& plan,
                                                  const RegionTarget& target,
                                                  RegionTrack& track) const {
  // Did not take place: due again.
  if (target.submitted && track.submitted == plan.frame) track.submitted.reset();
  if (!track.result || track.era != era_) return std::nullopt;
  Classification result = *track.result;
  result.age = static_cast<unsigned>(plan.frame - track.classified);
  result.region = {target.clipped.x, target.clipped.y, target.clipped.width, target.clipped.height};
  result.frame_size = {plan.width, plan.height};
  result.object = object_of(target.found);
  return result;
}

std::vector<RegionResult> RegionTracker::resolve(const RegionPlan& plan,
                                                 std::vector<Classification> fresh) {
  const std::scoped_lock lock(mutex_);
  std::vector<RegionResult> results;
  size_t next_fresh = 0;
  for (size_t i = 0; i < plan.targets.size(); ++i) {
    const RegionTarget& target = plan.targets[i];
    const auto found =
        target.found.track ? plan.tracks->find(*target.found.track) : plan.tracks->end();
    RegionTrack* track = found != plan.tracks->end() ? &found->second : nullptr;
    if (target.submitted && next_fresh < fresh.size()) {
      Classification& result = fresh[next_fresh++];
      if (track != nullptr) {
        track->result = result;
        track->classified = plan.frame;
        track->era = era_;
        track->submitted = std::max(track->submitted, std::optional(plan.frame));
      }
      results.push_back({i, std::move(result)});
    } else if (track != nullptr) {
      if (auto result = held(plan, target, *track)) results.push_back({i, std::move(*result)});
    }
  }
  return results;
}

void name_objects(const RegionPlan& plan, std::vector<Classification>& fresh) {
  size_t next = 0;
  for (const RegionTarget& target : plan.targets) {
    if (next == fresh.size()) return;
    if (target.submitted) fresh[next++].object = object_of(target.found);
  }
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
