// What a training run says while it runs: JSON Lines in a file, a picture of them beside it, a bar
// on a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace tome::train {

struct TrainRecord {
  double loss = 0, motion = 0, accuracy = 0, learning_rate = 0, gradient = 0;
  int64_t skipped = 0;  ///< steps of the whole run so far
};

/// Appends to the log. A run that goes on has the lines of steps that it will do again taken out
/// before.
class TrainLog {
 public:
  TrainLog(const std::filesystem::path& path, int64_t steps, int64_t first, bool progress);
  ~TrainLog();

  /// Takes one step in; writes the mean since the last line if `write`. Numbers that are not finite
  /// are left out of it; null is the mean of nothing else.
  /// @throws Error kFailed naming the file if it cannot be written
  void add(int64_t step, const TrainRecord& record, bool write);
  /// @throws as add
  void evaluation(int64_t step, double unmerged, double merged);
  /// Draws what is written so far, earlier runs' part too, into the log's name with .png. Where
  /// that cannot be, a line on stderr says so, once.
  void draw(const std::string& title);

 private:
  void check_file() const;
  void draw_bar(int64_t step);
  std::filesystem::path path_;
  std::ofstream file_;
  int64_t steps_, first_, last_;
  bool bar_;
  /// The mean of the finite ones of some numbers.
  struct Mean {
    double sum = 0;
    int64_t count = 0;
    void add(double number);
    double value() const;  ///< not a number if there was none
  };
  Mean loss_, motion_, accuracy_, gradient_;
  double shown_loss_ = 0, shown_accuracy_ = 0;
  double last_eval_ = -1;
  bool may_draw_ = true;
  std::chrono::steady_clock::time_point start_, last_line_;
};

}  // namespace tome::train
