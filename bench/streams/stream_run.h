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
  std::string schedule = "13";
  int batch_size = 8;
  int batch_timeout_ms = 5;
  double live_frames_per_s = 0;  ///< of all streams together; 0: not live, as fast as taken
  std::vector<RawSource> sources;
};

struct RunFigures {
  double frames_per_s = 0;
  double latency_p50_ms = 0, latency_p99_ms = 0;  ///< of a buffer, classifier's sink to source pad
  uint64_t skipped = 0;                           ///< inferences not done because they were late
  uint64_t dropped = 0;                           ///< buffers that went in and never came out
  uint64_t inferences = 0;
  std::vector<double> per_stream;  ///< frames per second
};

/// @throws std::runtime_error with the bus's error if a pipeline fails
RunFigures measure_streams(const StreamOptions& options, bool classify);

}  // namespace tome::bench
