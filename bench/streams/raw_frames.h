// Raw frames of several sizes and formats, in files of the benchmark's own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tome::bench {

/// One source: `count` frames in files PATTERN % index, each of `bytes` bytes.
struct RawSource {
  std::string format;  ///< GStreamer's name
  int width = 0, height = 0;
  int count = 0;
  size_t bytes = 0;
  std::string pattern;  ///< as multifilesrc takes it
  std::string caps() const;
};

struct FrameKind {
  std::string format;  ///< GStreamer's name
  int width = 0, height = 0;
};
inline const std::vector<FrameKind> kMixedFrames = {{"NV12", 1280, 720}, {"I420", 640, 480},
                                                    {"RGB", 320, 240},   {"BGRx", 640, 360},
                                                    {"YUY2", 854, 480},  {"NV12", 1920, 1080}};

/// "NV12:1920x1080". @throws std::runtime_error for anything else
FrameKind parse_frame_kind(const std::string& text);

/// `streams` sources that go round `kinds`; their frames are written to `folder`.
std::vector<RawSource> make_raw_frames(int streams, const std::vector<FrameKind>& kinds,
                                       const std::filesystem::path& folder);

/// One frame's bytes.
std::vector<uint8_t> read_frame(const RawSource& source, int index);

}  // namespace tome::bench
