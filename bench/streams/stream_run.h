// Runs all streams in one process, with or without the classifier, and measures them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raw_frames.h"

namespace tome::bench {

struct StreamOptions {
  int streams = 16;
  double seconds = 30;
  double load = 1.0;
  std::string model;
  std::string device = "auto";
  std::string precision = "auto";
  std::string schedule = "13";
  int batch_size = 8;
  int batch_timeout_ms = 5;
  double live_frames_per_s = 0;  ///< of all streams together; 0: not live, as fast as taken
  std::vector<RawSource> sources;
};

/// What several runs add up to.
struct RunFigures {
  double seconds = 0;
  uint64_t frames = 0, inferences = 0;
  uint64_t skipped = 0;              ///< inferences not done because they were late
  uint64_t dropped = 0;              ///< buffers that went in and never came out
  std::vector<double> latencies_ms;  ///< of each buffer, classifier's sink to source pad
  std::vector<uint64_t> per_stream;  ///< frames of each stream

  double per_second(uint64_t count) const { return static_cast<double>(count) / seconds; }
  /// The latency that this share of the buffers stays under.
  double latency_ms(double share) const;
};

/// Runs all streams for so many seconds and adds what they did to `figures`.
/// @throws std::runtime_error with the bus's error if a pipeline fails
void measure_streams(const StreamOptions& options, bool classify, double seconds,
                     RunFigures& figures);

}  // namespace tome::bench
