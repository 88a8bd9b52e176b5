#include "stream_watch.h"

#include <algorithm>
#include <utility>

#include "failure_message.h"

GST_DEBUG_CATEGORY_EXTERN(tome_classify_debug);
#define GST_CAT_DEFAULT tome_classify_debug

namespace tome::gst {
namespace {

/// Frames in a row that cannot be read before that is an error: about a second.
constexpr unsigned kMostUnread = 32;

/// Windows in a row, cut short, before somebody should hear that there will be no results.
constexpr unsigned kManyCutWindows = 3;

}  // namespace

StreamWatch::StreamWatch(GstElement* element, const Settings& settings, uint64_t clip_length)
    : element_(element),
      object_class_(settings.object_class),
      clip_length_(clip_length),
      window_(clip_length > 1 ? (clip_length - 1) * settings.frame_stride + 1 : 1) {}

void StreamWatch::read(bool restart) {
  unread_ = 0;
  read_any_ = true;
  if (clip_length_ <= 1) return;
  if (restart) {
    const uint64_t taken = std::exchange(run_, 0);
    cut_windows_ = taken > 0 && taken < window_ ? cut_windows_ + 1 : 0;
  }
  longest_run_ = std::max(longest_run_, ++run_);
  if (cut_windows_ >= kManyCutWindows) tell_of_cuts();
}

/// A stream that is interrupted more often than a window lasts would tag nothing, in silence.
void StreamWatch::tell_of_cuts() {
  if (std::exchange(cuts_told_, true)) return;
  post_failure(element_, GST_MESSAGE_WARNING,
               {TOME_ERROR_FORMAT, "windows of " + std::to_string(clip_length_) +
                                       " frames: " + std::to_string(cut_windows_) +
                                       " in a row were cut short by discontinuities, and have no "
                                       "result"});
}

/// Note [Frames that cannot be read]
MaybeFailure StreamWatch::unread(const std::string& error, bool is_gap) {
  if (!is_gap && ++unread_ >= kMostUnread) {
    return Failure{TOME_ERROR_FORMAT, error + "; " + std::to_string(kMostUnread) +
                                          " frames in a row could not be read"};
  }
  if (!std::exchange(unread_told_, true)) {
    post_failure(element_, GST_MESSAGE_WARNING,
                 {TOME_ERROR_FORMAT,
                  error + "; frames that cannot be read pass without a result, and what was known "
                          "before them does not hold after them"});
  }
  return std::nullopt;
}

void StreamWatch::looked_for_regions(bool found) {
  saw_region_ = saw_region_.value_or(false) || found;
}

void StreamWatch::flushed() {
  run_ = 0;
  unread_ = 0;
}

void StreamWatch::drained(bool padded) {
  run_ = 0;
  padded_ |= padded;
}

MaybeFailure StreamWatch::ended() {
  if (saw_region_ == false) {
    const std::string types = object_class_.empty() ? "" : " of object-class=" + object_class_;
    GST_WARNING_OBJECT(element_, "no result: no frame of the stream had a region%s in it",
                       types.c_str());
  }
  if (longest_run_ > 0 && longest_run_ < window_ && !padded_) {
    GST_WARNING_OBJECT(element_,
                       "no result: the stream had at most %" G_GUINT64_FORMAT
                       " frames in a row, and a window has %" G_GUINT64_FORMAT,
                       longest_run_, window_);
  }
  longest_run_ = 0;
  padded_ = false;
  saw_region_.reset();
  // Fewer frames than kMostUnread, but all there were.
  if (unread_ == 0 || read_any_) return std::nullopt;
  return Failure{TOME_ERROR_FORMAT, "no frame could be read before the end of the stream: found " +
                                        std::to_string(unread_) +
                                        ", none of which holds a picture as the caps say"};
}

void StreamWatch::began() {
  unread_ = 0;
  read_any_ = false;
}

}  // namespace tome::gst
