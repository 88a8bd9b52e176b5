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

/// `streams` sources that go round six sizes and formats; their frames are written to `folder`.
std::vector<RawSource> make_raw_frames(int streams, const std::filesystem::path& folder);

/// One frame's bytes.
std::vector<uint8_t> read_frame(const RawSource& source, int index);

}  // namespace tome::bench
