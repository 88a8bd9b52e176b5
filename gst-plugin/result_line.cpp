#include "result_line.h"

#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

namespace tome::gst {
namespace {

using Json = nlohmann::ordered_json;

Json seconds(const std::optional<double>& time) { return time ? Json(*time) : Json(nullptr); }

/// Scores are single precision; more digits would only show its rounding. Not finite: null.
Json number(double score) {
  if (!std::isfinite(score)) return nullptr;
  return std::round(score * 1e6) / 1e6;
}

Json tags_of(const Classification& result) {
  Json tags = Json::array();
  for (const Tag& tag : result.tags) {
    tags.push_back({{"id", tag.id}, {"label", tag.label}, {"score", number(tag.score)}});
  }
  return tags;
}

Json object_of(const Classification& result) {
  if (!result.object) return nullptr;
  return {{"type", result.object->type}, {"id", result.object->id}};
}

Json clip_of(const Classification& result, const ResultTimes& times) {
  if (result.frames <= 1) return nullptr;
  return {{"start", seconds(times.clip_start)},
          {"end", seconds(times.clip_end)},
          {"frames", result.frames}};
}

}  // namespace

std::string rfc3339(std::chrono::system_clock::time_point time) {
  using namespace std::chrono;
  const auto since_epoch = floor<milliseconds>(time.time_since_epoch());
  const std::time_t whole =
      static_cast<std::time_t>(floor<std::chrono::seconds>(since_epoch).count());
  std::tm utc{};
  gmtime_r(&whole, &utc);
  std::array<char, 64> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  const auto millis = std::to_string(1000 + (since_epoch.count() % 1000 + 1000) % 1000).substr(1);
  return std::string(text.data(), length) + "." + millis + "Z";
}

std::string result_line(const Classification& result, const ResultTimes& times,
                        const std::string& stream, std::chrono::system_clock::time_point time) {
  Json line;
  line["time"] = rfc3339(time);
  line["pts"] = seconds(times.pts);
  line["stream"] = stream;
  line["model"] = result.model;
  line["region"] = result.region ? Json(*result.region) : Json(nullptr);
  if (result.region) {
    line["frame"] = result.frame_size ? Json(*result.frame_size) : Json(nullptr);
  }
  line["object"] = object_of(result);
  line["clip"] = clip_of(result, times);
  line["age"] = result.age;
  line["tags"] = tags_of(result);
  line["tokens_in"] = result.tokens_in;
  line["tokens_out"] = result.tokens_out;
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tome::gst
