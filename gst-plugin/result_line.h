// One result as one line of JSON.
#pragma once

#include <gst/gst.h>

#include <chrono>
#include <optional>
#include <string>

#include "classification_meta.h"

namespace tome::gst {

/// Wall clock as RFC 3339 in UTC with milliseconds, as in 2024-05-06T07:08:09.123Z.
std::string rfc3339(std::chrono::system_clock::time_point time);

/// When a result was, in seconds of the stream; nothing: not known.
struct ResultTimes {
  std::optional<double> pts;
  std::optional<double> clip_start, clip_end;
};

/// The object without a line end. Keys, in this order: time (RFC 3339), pts (seconds or null),
/// stream, model, region (null for the full frame, or [x, y, w, h]), frame (of a region only: the
/// size [w, h] of the picture in which it counts, or null), object (a region's {type, id}, or
/// null), clip (null for a single frame, or {start, end, frames} in seconds), age, tags ([{id,
/// label, score}], best first), tokens_in, tokens_out. Text that is not UTF-8 has its bad bytes
/// replaced.
std::string result_line(const Classification& result, const ResultTimes& times,
                        const std::string& stream, std::chrono::system_clock::time_point time);

}  // namespace tome::gst
