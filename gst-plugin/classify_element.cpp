// State changes, properties and errors of tomeclassify.
#include "classify_element.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "failure_message.h"
#include "ignored_settings.h"
#include "property_table.h"

GST_DEBUG_CATEGORY_EXTERN(tome_classify_debug);

namespace tome::gst {
namespace {

/// Note [Depth in flight]
unsigned depth_in_flight(const Settings& settings, const TomeModelInfo& info, int64_t forward) {
  constexpr uint64_t kMost = 128;
  constexpr uint64_t kMostAhead = 32;
  constexpr int64_t kFrameOfADecoder = 4'000'000;
  const uint64_t ahead = std::min(
      kMostAhead, 1 + static_cast<uint64_t>(std::max<int64_t>(forward, 0) / kFrameOfADecoder));
  const uint64_t clip = std::max<uint64_t>(info.clip_length, 1);
  const uint64_t window = clip > 1 ? clip * settings.frame_stride : 1;
  const uint64_t stride = clip > 1 && settings.clip_stride > 0 ? settings.clip_stride : window;
  const uint64_t usual = 2 * uint64_t{settings.batch_size} + clip;
  const uint64_t apart = std::min(kMost, stride * settings.inference_interval);
  const uint64_t between = settings.batch_size > 1 ? settings.batch_size * apart
                                                   : std::max(stride, std::min(apart, ahead));
  return static_cast<unsigned>(std::max(usual, std::min(kMost, between)));
}

}  // namespace

ClassifyElement::ClassifyElement(GstElement* element, GstPad* sink, GstPad* src)
    : element_(element), sink_(sink), src_(src), cuda_(element), watch_(element) {
  gst_segment_init(&segment_, GST_FORMAT_UNDEFINED);
}

Settings ClassifyElement::settings() const {
  const std::scoped_lock lock(settings_mutex_);
  return settings_;
}

void ClassifyElement::post_error(const Failure& failure) {
  error_posted_ = true;
  post_failure(element_, GST_MESSAGE_ERROR, failure);
}

void ClassifyElement::post_warning(const Failure& failure) {
  post_failure(element_, GST_MESSAGE_WARNING, failure);
}

bool ClassifyElement::open() { return open_model(settings()); }

bool ClassifyElement::open_model(const Settings& settings) {
  if (auto failure = session_.open(settings)) {
    // The model before stays open if only the r spec is refused.
    if (!session_.is_open()) stats_.set_model(nullptr, nullptr);
    post_error(*failure);
    return false;
  }
  cuda_.open(session_.info().device, session_.info().takes_cuda_frames != 0);
  stats_.set_model(session_.info().device, session_.info().precision);
  return true;
}

bool ClassifyElement::start() {
  forget_late_settings(G_OBJECT(element_));
  running_ = settings();
  // The application may have changed the model since NULL->READY.
  if (!open_model(running_)) return false;
  if (running_.region == InferenceRegion::kRoiList && session_.info().clip_length > 1) {
    post_error({TOME_ERROR_SETTINGS,
                "inference-region=roi-list found together with clips of " +
                    std::to_string(session_.info().clip_length) +
                    " frames: expected clip-length=1 and an image model, for a region has no "
                    "window of its own"});
    return false;
  }
  depth_ = depth_in_flight(running_, session_.info(), session_.batch_duration());
  fill_wait_ = running_.batch_size > 1 ? int64_t{running_.batch_timeout_ms} * GST_MSECOND : 0;
  name_ = Ptr<char>(gst_element_get_name(element_)).get();
  inference_interval_ = running_.inference_interval;
  if (auto failure = session_.start(running_, name_, depth_)) {
    post_error(*failure);
    return false;
  }
  apply_late_changes();
  warn_of_ignored_settings();
  queue_.set_depth(depth_);
  regions_.configure(running_.object_class, running_.reclassify_interval);
  stats_.reset();
  lateness_.reset();
  promised_latency_.reset();
  frame_duration_ = GST_CLOCK_TIME_NONE;
  frame_size_.reset();
  held_.clear();
  error_posted_ = false;
  have_info_ = cuda_memory_ = detour_told_ = trick_told_ = live_known_ = undrained_ = false;
  new_segment_ = false;
  watch_ = StreamWatch(element_, running_, session_.info().clip_length);
  restart_ = true;
  last_pts_ = GST_CLOCK_TIME_NONE;
  gst_segment_init(&segment_, GST_FORMAT_UNDEFINED);
  return true;
}

void ClassifyElement::warn_of_ignored_settings() {
  for (const std::string& text : ignored_settings(running_, session_.info().clip_length)) {
    post_warning({TOME_ERROR_SETTINGS, text});
  }
}

/// Note [Changes at once]. What the core refuses is in `changed` as it was before.
/// @return the first refusal
MaybeFailure ClassifyElement::pass_on(Settings& changed, const Settings& before) {
  MaybeFailure refused;
  if (changed.tome_r != before.tome_r) {
    refused = session_.set_schedule(changed.tome_r);
    if (refused) changed.tome_r = before.tome_r;
  }
  const auto adjusted = [](auto& of) {
    return std::tie(of.top_k, of.threshold, of.inference_interval);
  };
  if (adjusted(changed) == adjusted(before)) return refused;
  if (auto failure = session_.adjust(changed)) {
    adjusted(changed) = adjusted(before);
    return refused ? refused : failure;
  }
  inference_interval_ = changed.inference_interval;
  return refused;
}

/// What was set while the stream opened found none to check it or to change.
void ClassifyElement::apply_late_changes() {
  MaybeFailure refused;
  std::vector<const char*> late;
  {
    const std::scoped_lock lock(settings_mutex_);
    refused = pass_on(settings_, running_);
    late = changed_for_next_start(running_, settings_);
    started_ = true;
  }
  if (refused) post_warning(*refused);
  tell_of_late(late);
}

void ClassifyElement::tell_of_late(const std::vector<const char*>& names) {
  for (const char* name : names) notice_late_setting(G_OBJECT(element_), name, tome_classify_debug);
}

void ClassifyElement::stop() {
  {
    const std::scoped_lock lock(settings_mutex_);
    started_ = false;
  }
  queue_.clear(nullptr);
  session_.stop();
}

void ClassifyElement::close() {
  cuda_.close();
  session_.close();
  stats_.set_model(nullptr, nullptr);
}

bool ClassifyElement::set_property(guint id, const GValue* value) {
  MaybeFailure refused;
  std::vector<const char*> late;
  {
    const std::scoped_lock lock(settings_mutex_);
    Settings changed = settings_;
    if (!tome::gst::set_property(changed, id, value)) return false;
    if (started_) late = changed_for_next_start(settings_, changed);
    refused = pass_on(changed, settings_);
    skip_late_ = changed.late_policy == LatePolicy::kSkip;
    post_messages_ = changed.post_messages;
    settings_ = std::move(changed);
  }
  // Whoever hears it may ask for properties.
  if (refused) post_warning(*refused);
  tell_of_late(late);
  return true;
}

bool ClassifyElement::get_property(guint id, GValue* value) {
  if (id == kPropStats) {
    g_value_take_boxed(value, stats_.structure().release());
    return true;
  }
  return tome::gst::get_property(settings(), id, value);
}

bool ClassifyElement::activate_sink(bool active) {
  if (active) {
    resume();
    return true;
  }
  wake_everyone();
  // The chain function has left once the stream lock is ours.
  GST_PAD_STREAM_LOCK(sink_);
  queue_.clear(nullptr);
  GST_PAD_STREAM_UNLOCK(sink_);
  return true;
}

bool ClassifyElement::activate_src(bool active) {
  {
    const std::scoped_lock lock(task_mutex_);
    src_active_ = active;
  }
  if (active) return resume();
  wake_everyone();
  return gst_pad_stop_task(src_);
}

bool ClassifyElement::start_task() {
  return gst_pad_start_task(
      src_, [](gpointer self) { static_cast<ClassifyElement*>(self)->loop(); }, this, nullptr);
}

bool ClassifyElement::resume() {
  const std::scoped_lock lock(task_mutex_);
  if (!src_active_) return false;
  queue_.set_flow(GST_FLOW_OK);
  return start_task();
}

void ClassifyElement::relinked() {
  const std::scoped_lock lock(task_mutex_);
  relinked_ = true;
  if (src_active_ && queue_.resume_from(GST_FLOW_NOT_LINKED)) start_task();
}

void ClassifyElement::wake_everyone() {
  queue_.set_flow(GST_FLOW_FLUSHING);
  session_.flush();
}

}  // namespace tome::gst
