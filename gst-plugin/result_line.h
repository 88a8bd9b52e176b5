// One result as one line of JSON.
#pragma once

#include <gst/gst.h>

#include <chrono>
#include <optional>
#include <string>

#include "classification_meta.h"

namespace tome::gst {

/// When a result was; nothing: not known.
struct ResultTimes {
  std::optional<double> pts;                                           ///< seconds of the stream
  std::optional<double> clip_start, clip_end;                          ///< seconds of the stream
  std::optional<std::chrono::system_clock::time_point> captured = {};  ///< its last frame
};

/// The object without a line end, see "Lines of tomepublish" in docs/metadata.md; `clip` is null
/// where one frame was looked at. Text that is not UTF-8 has its bad bytes replaced.
std::string result_line(const Classification& result, const ResultTimes& times,
                        const std::string& stream, std::chrono::system_clock::time_point time);

}  // namespace tome::gst
