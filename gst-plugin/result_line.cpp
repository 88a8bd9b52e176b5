#include "result_line.h"

#include "engine/result_json.h"

namespace tome::gst {

std::string result_line(const Classification& result, const ResultTimes& times,
                        const std::string& stream, std::chrono::system_clock::time_point time) {
  ResultRecord record;
  record.time = time;
  record.captured = times.captured;
  record.pts = times.pts;
  record.stream = stream;
  record.model = result.model;
  if (!result.element.empty()) record.element = result.element;
  record.region = result.region;
  record.frame_size = result.frame_size;
  record.object = result.object;
  record.clip_start = times.clip_start;
  record.clip_end = times.clip_end;
  record.frames = result.frames;
  record.age = result.age;
  record.tags = result.tags;
  record.tokens_in = result.tokens_in;
  record.tokens_out = result.tokens_out;
  return result_text(record);
}

}  // namespace tome::gst
