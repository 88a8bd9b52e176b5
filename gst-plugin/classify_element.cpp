// State changes, properties and errors of tomeclassify.
#include "classify_element.h"

#include <algorithm>
#include <utility>

GST_DEBUG_CATEGORY_EXTERN(tome_classify_debug);
#define GST_CAT_DEFAULT tome_classify_debug

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

struct ErrorCode {
  GQuark domain;
  gint code;
};

ErrorCode error_code(TomeStatus status) {
  switch (status) {
    case TOME_ERROR_NOT_FOUND:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND};
    case TOME_ERROR_READ:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ};
    case TOME_ERROR_FORMAT:
      return {GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT};
    case TOME_ERROR_SETTINGS:
      return {GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS};
    case TOME_ERROR_DEVICE:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_FAILED};
    case TOME_ERROR_OUT_OF_MEMORY:
      return {GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT};
    default:
      return {GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_FAILED};
  }
}

void post(GstElement* element, GstMessageType type, const Failure& failure) {
  const ErrorCode code = error_code(failure.status);
  gst_element_message_full(element, type, code.domain, code.code, g_strdup(failure.text.c_str()),
                           nullptr, __FILE__, "tomeclassify", __LINE__);
}

}  // namespace

ClassifyElement::ClassifyElement(GstElement* element, GstPad* sink, GstPad* src)
    : element_(element), sink_(sink), src_(src), cuda_(element) {
  gst_segment_init(&segment_, GST_FORMAT_UNDEFINED);
}

Settings ClassifyElement::settings() const {
  const std::scoped_lock lock(settings_mutex_);
  return settings_;
}

void ClassifyElement::post_error(const Failure& failure) {
  error_posted_ = true;
  post(element_, GST_MESSAGE_ERROR, failure);
}

void ClassifyElement::post_warning(const Failure& failure) {
  post(element_, GST_MESSAGE_WARNING, failure);
}

/// At the end of a stream, for whoever wonders why it had no result although nothing failed.
void ClassifyElement::explain_silence() {
  if (saw_region_ == false) {
    const std::string types =
        running_.object_class.empty() ? "" : " of object-class=" + running_.object_class;
    GST_WARNING_OBJECT(element_, "no result: no frame of the stream had a region%s in it",
                       types.c_str());
  }
  if (longest_run_ > 0 && longest_run_ < frames_of_window() && !padded_) {
    GST_WARNING_OBJECT(element_,
                       "no result: the stream had at most %" G_GUINT64_FORMAT
                       " frames in a row, and a window has %" G_GUINT64_FORMAT,
                       longest_run_, frames_of_window());
  }
  longest_run_ = 0;
  padded_ = false;
  saw_region_.reset();
}

bool ClassifyElement::open() { return open_model(settings()); }

bool ClassifyElement::open_model(const Settings& settings) {
  if (auto failure = session_.open(settings)) {
    post_error(*failure);
    return false;
  }
  cuda_.open(session_.info().device, session_.info().takes_cuda_frames != 0);
  return true;
}

bool ClassifyElement::start() {
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
  const Ptr<char> name(gst_element_get_name(element_));
  if (auto failure = session_.start(running_, name.get(), depth_)) {
    post_error(*failure);
    return false;
  }
  apply_late_schedule();
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
  unread_told_ = cuts_told_ = read_any_ = new_segment_ = false;
  unread_ = cut_windows_ = 0;
  since_restart_ = longest_run_ = 0;
  padded_ = false;
  saw_region_.reset();
  restart_ = true;
  last_pts_ = GST_CLOCK_TIME_NONE;
  gst_segment_init(&segment_, GST_FORMAT_UNDEFINED);
  return true;
}

/// A tome-r that was set while the stream opened found none to check it or to change.
void ClassifyElement::apply_late_schedule() {
  MaybeFailure refused;
  {
    const std::scoped_lock lock(settings_mutex_);
    if (settings_.tome_r == running_.tome_r) return;
    refused = session_.set_schedule(settings_.tome_r);
    if (refused) settings_.tome_r = running_.tome_r;
  }
  if (refused) post_warning(*refused);
}

void ClassifyElement::stop() {
  queue_.clear(nullptr);
  session_.stop();
}

void ClassifyElement::close() {
  cuda_.close();
  session_.close();
}

bool ClassifyElement::set_property(guint id, const GValue* value) {
  MaybeFailure refused;
  {
    const std::scoped_lock lock(settings_mutex_);
    Settings changed = settings_;
    if (!tome::gst::set_property(changed, id, value)) return false;
    if (id == kPropTomeR) refused = session_.set_schedule(changed.tome_r);
    if (!refused) {
      skip_late_ = changed.late_policy == LatePolicy::kSkip;
      post_messages_ = changed.post_messages;
      settings_ = std::move(changed);
    }
  }
  // Whoever hears it may ask for properties.
  if (refused) post_warning(*refused);
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
