#include "raw_frames.h"

#include <gst/video/video.h>

#include <cstdio>
#include <fstream>
#include <random>
#include <stdexcept>

namespace tome::bench {
namespace {

constexpr int kFramesPerSource = 4;

/// Smooth shapes and noise: content does not matter to the time, but all-equal bytes might.
std::vector<uint8_t> noise(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> data(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    data[i] = static_cast<uint8_t>(64 + (i / 97 + seed * 13) % 120 + random() % 16);
  }
  return data;
}

std::string path_of(const RawSource& source, int index) {
  std::string path(source.pattern.size() + 16, '\0');
  const int length = std::snprintf(path.data(), path.size(), source.pattern.c_str(), index);
  path.resize(static_cast<size_t>(length));
  return path;
}

}  // namespace

std::string RawSource::caps() const {
  return "video/x-raw,format=" + format + ",width=" + std::to_string(width) +
         ",height=" + std::to_string(height) + ",framerate=30/1";
}

FrameKind parse_frame_kind(const std::string& text) {
  char format[16];
  FrameKind kind;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%15[^:]:%dx%d%c", format, &kind.width, &kind.height, &rest) != 3 ||
      kind.width < 1 || kind.height < 1) {
    throw std::runtime_error("--source: found '" + text + "', expected such as NV12:1920x1080");
  }
  kind.format = format;
  return kind;
}

std::vector<RawSource> make_raw_frames(int streams, const std::vector<FrameKind>& kinds,
                                       const std::filesystem::path& folder) {
  std::vector<RawSource> sources;
  for (int i = 0; i < streams; ++i) {
    const size_t kind = static_cast<size_t>(i) % kinds.size();
    if (kind < sources.size() && static_cast<size_t>(i) >= kinds.size()) {
      sources.push_back(sources[kind]);  // same files, read by several streams
      continue;
    }
    RawSource source;
    source.format = kinds[kind].format;
    source.width = kinds[kind].width;
    source.height = kinds[kind].height;
    source.count = kFramesPerSource;
    source.pattern = (folder / ("source" + std::to_string(kind) + "-%02d.raw")).string();
    GstVideoInfo info;
    gst_video_info_set_format(&info, gst_video_format_from_string(source.format.c_str()),
                              static_cast<guint>(source.width), static_cast<guint>(source.height));
    source.bytes = info.size;
    for (int frame = 0; frame < source.count; ++frame) {
      const auto data = noise(source.bytes, static_cast<uint32_t>(kind * 100 + frame));
      std::ofstream file(path_of(source, frame), std::ios::binary);
      file.write(reinterpret_cast<const char*>(data.data()),
                 static_cast<std::streamsize>(data.size()));
      if (!file) throw std::runtime_error("cannot write " + path_of(source, frame));
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

std::vector<uint8_t> read_frame(const RawSource& source, int index) {
  std::ifstream file(path_of(source, index), std::ios::binary);
  std::vector<uint8_t> data(source.bytes);
  file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()));
  if (!file) throw std::runtime_error("cannot read " + path_of(source, index));
  return data;
}

}  // namespace tome::bench
