// What a training run says while it runs: JSON Lines in a file, a bar on a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>

namespace tome::train {

struct TrainRecord {
  double loss = 0, motion = 0, accuracy = 0, learning_rate = 0, gradient = 0;
};

/// Appends to the log; a run that goes on first drops the lines of steps it will do again.
class TrainLog {
 public:
  TrainLog(const std::filesystem::path& path, int64_t steps, int64_t first, bool progress);
  ~TrainLog();

  /// Takes one step in; writes the mean since the last line if `write`.
  void add(int64_t step, const TrainRecord& record, bool write);
  void evaluation(int64_t step, double unmerged, double merged);

 private:
  void draw_bar(int64_t step);
  std::ofstream file_;
  int64_t steps_, first_, last_;
  bool bar_;
  TrainRecord sum_, mean_;
  int64_t count_ = 0;
  double last_eval_ = -1;
  std::chrono::steady_clock::time_point start_, last_line_;
};

}  // namespace tome::train
