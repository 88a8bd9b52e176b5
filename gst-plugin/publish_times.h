// When results were, in seconds of the stream, also where an element has moved its time stamps.
#pragma once

#include <gst/gst.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "classification_meta.h"
#include "result_line.h"

namespace tome::gst {

/// Seconds of the stream, as players show them (what lies before its beginning is negative); where
/// the segment has no such, of the time stamp itself.
inline std::optional<double> stream_seconds(const GstSegment& segment, GstClockTime time) {
  if (!GST_CLOCK_TIME_IS_VALID(time)) return std::nullopt;
  guint64 converted = 0;
  // The other one knows no times outside the segment, and a clip may begin before it.
  const int sign =
      segment.format == GST_FORMAT_TIME
          ? gst_segment_to_stream_time_full(&segment, GST_FORMAT_TIME, time, &converted)
          : 0;
  if (sign == 0) return static_cast<double>(time) / GST_SECOND;
  return sign * static_cast<double>(converted) / GST_SECOND;
}

// Note [Time stamps that were moved]
// Encoders that reorder frames (x264enc, x265enc, libav's) move all time stamps, and the segment
// with them, up to 1000 hours on, so that none falls below zero. A result says when its clip was
// before that. It is fresh on the frame with which the clip ended, so what that frame's time stamp
// is ahead of the clip's end is how far both were moved, and what is held of a clip, or padded at
// the end of the stream, was moved as far. Less than a second is none of that: videorate puts a
// frame on the nearest time of its own rate. It also repeats frames, with all they carry, so only
// the first one that brings a clip counts.
class PublishTimes {
 public:
  /// To be called with each frame, before its results are asked for.
  void look_at(const std::vector<Classification>& results, GstClockTime pts) {
    if (!GST_CLOCK_TIME_IS_VALID(pts) || is_absurd(pts)) return;
    latest_ = GST_CLOCK_TIME_IS_VALID(latest_) ? std::max(latest_, pts) : pts;
    for (const Classification& result : results) {
      if (result.age > 0 || !GST_CLOCK_TIME_IS_VALID(result.clip_end)) continue;
      Move& move = moves_[result.model];
      if (move.clip_end == result.clip_end) continue;
      move = {result.clip_end, move_to(pts, result.clip_end)};
    }
  }

  /// @param pts of the frame that has the result; none: of no frame, at the end of the stream
  ResultTimes of(const Classification& result, const GstSegment& segment, GstClockTime pts) const {
    if (GST_CLOCK_TIME_IS_VALID(pts) && is_absurd(pts)) return {};
    const GstClockTimeDiff by = move_of(result, segment, pts);
    const auto start = moved_seconds(segment, result.clip_start, by);
    const auto end = moved_seconds(segment, result.clip_end, by);
    return {GST_CLOCK_TIME_IS_VALID(pts) ? stream_seconds(segment, pts) : end, start, end};
  }

  /// Another segment, whose frames may have been moved as those before.
  void forget_frames() { latest_ = GST_CLOCK_TIME_NONE; }

 private:
  struct Move {
    GstClockTime clip_end = GST_CLOCK_TIME_NONE;  // of the result that told it
    GstClockTimeDiff by = 0;
  };
  static constexpr GstClockTimeDiff kLeast = GST_SECOND;

  /// 292 years on, where avenc_mpeg4 of GStreamer 1.22 puts every frame.
  static bool is_absurd(GstClockTime time) { return time > G_MAXINT64; }

  static bool is_in(const GstSegment& segment, GstClockTime time) {
    return segment.format == GST_FORMAT_TIME && time >= segment.start &&
           (!GST_CLOCK_TIME_IS_VALID(segment.stop) || time <= segment.stop);
  }

  /// How far what ended at `clip_end` was moved, if it ends with the frame at `pts`.
  static GstClockTimeDiff move_to(GstClockTime pts, GstClockTime clip_end) {
    const GstClockTimeDiff by = GST_CLOCK_DIFF(clip_end, pts);
    return by > -kLeast && by < kLeast ? 0 : by;
  }

  GstClockTimeDiff move_of(const Classification& result, const GstSegment& segment,
                           GstClockTime pts) const {
    if (const auto found = moves_.find(result.model); found != moves_.end()) {
      return found->second.by;
    }
    // A stream too short for a fresh result: its only window ended with its last frame. Or the
    // frame with the fresh one was dropped: the clip ended a few frames before this one.
    const GstClockTime frame = GST_CLOCK_TIME_IS_VALID(pts) ? pts : latest_;
    const bool moved =
        GST_CLOCK_TIME_IS_VALID(frame) && is_in(segment, frame) && !is_in(segment, result.clip_end);
    return moved ? move_to(frame, result.clip_end) : 0;
  }

  static std::optional<double> moved_seconds(const GstSegment& segment, GstClockTime time,
                                             GstClockTimeDiff by) {
    if (!GST_CLOCK_TIME_IS_VALID(time)) return std::nullopt;
    // Unsigned, which may wrap around: time stamps of a foreign meta can be anything.
    const GstClockTime back = 0 - static_cast<GstClockTime>(by);
    if (by >= 0 || time >= back) return stream_seconds(segment, time - back);
    return *stream_seconds(segment, 0) - static_cast<double>(back - time) / GST_SECOND;
  }

  std::map<std::string, Move> moves_;          // by model
  GstClockTime latest_ = GST_CLOCK_TIME_NONE;  // time stamp of this segment's frames
};

}  // namespace tome::gst
