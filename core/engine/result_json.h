// One result as one line of JSON, the same from tomepublish and from `tome`. No GStreamer and no
// LibTorch here, so that both may include it.
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/result_parts.h"

namespace tome {

/// What a line says, see "Lines of tomepublish" in docs/metadata.md. What is not set is not known.
struct ResultRecord {
  std::optional<std::string> file;             ///< of `tome` alone, whose lines begin with it
  std::chrono::system_clock::time_point time;  ///< wall clock
  /// Wall clock of the last frame that was looked at.
  std::optional<std::chrono::system_clock::time_point> captured;
  std::optional<double> pts;  ///< seconds of the stream
  std::string stream, model;
  std::optional<std::string> element;            ///< that made the result; none of `tome`
  std::optional<std::array<int, 4>> region;      ///< x, y, width, height, pixels; none: full frame
  std::optional<std::array<int, 2>> frame_size;  ///< of the picture in which `region` counts
  std::optional<ResultObject> object;
  std::optional<double> clip_start, clip_end;  ///< seconds of the stream
  int64_t frames = 1;                          ///< looked at, padding not counted
  int64_t age = 0;                             ///< frames since the result was fresh
  std::vector<ResultTag> tags;                 ///< best first
  int64_t tokens_in = 0, tokens_out = 0;
};

/// RFC 3339 in UTC with milliseconds, as in 2024-05-06T07:08:09.123Z.
inline std::string rfc3339(std::chrono::system_clock::time_point time) {
  namespace chrono = std::chrono;
  const auto since_epoch = chrono::floor<chrono::milliseconds>(time.time_since_epoch());
  const auto whole = chrono::floor<chrono::seconds>(since_epoch);
  const std::time_t seconds = static_cast<std::time_t>(whole.count());
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  const auto millis = std::to_string(1000 + (since_epoch - whole).count()).substr(1);
  return std::string(text.data(), length) + "." + millis + "Z";
}

/// [{"id", "label", "score"}, …]. Scores are single precision: more than six decimals would only
/// show its rounding. One that is not finite is null.
inline nlohmann::ordered_json tags_json(const std::vector<ResultTag>& tags) {
  auto out = nlohmann::ordered_json::array();
  for (const ResultTag& tag : tags) {
    nlohmann::ordered_json score;
    if (std::isfinite(tag.score)) score = std::round(tag.score * 1e6) / 1e6;
    out.push_back({{"id", tag.id}, {"label", tag.label}, {"score", score}});
  }
  return out;
}

/// The object: `file` where there is one, time, captured, pts, stream, model, element, region,
/// `frame` of a region only, object, clip, age, tags, tokens_in, tokens_out, in this order.
inline nlohmann::ordered_json result_json(const ResultRecord& result) {
  using Json = nlohmann::ordered_json;
  const auto known = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json line;
  if (result.file) line["file"] = *result.file;
  line["time"] = rfc3339(result.time);
  line["captured"] = result.captured ? Json(rfc3339(*result.captured)) : Json(nullptr);
  line["pts"] = known(result.pts);
  line["stream"] = result.stream;
  line["model"] = result.model;
  line["element"] = known(result.element);
  line["region"] = known(result.region);
  if (result.region) line["frame"] = known(result.frame_size);
  line["object"] = nullptr;
  if (result.object) line["object"] = {{"type", result.object->type}, {"id", result.object->id}};
  line["clip"] = nullptr;
  if (result.frames > 1) {
    line["clip"] = {{"start", known(result.clip_start)},
                    {"end", known(result.clip_end)},
                    {"frames", result.frames}};
  }
  line["age"] = result.age;
  line["tags"] = tags_json(result.tags);
  line["tokens_in"] = result.tokens_in;
  line["tokens_out"] = result.tokens_out;
  return line;
}

/// The object as text without a line end. Of text that is not UTF-8 the bad bytes are replaced.
inline std::string result_text(const ResultRecord& result) {
  return result_json(result).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace tome
