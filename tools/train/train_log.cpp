#include "train/train_log.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/replace_file.h"
#include "error_line.h"
#include "tome_error.h"
#include "train/log_plot.h"

namespace tome::train {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// False too for what no training wrote.
bool is_up_to(const std::string& line, int64_t step) {
  const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto found = record.is_object() ? record.find("step") : record.end();
  return found != record.end() && found->is_number() &&
         found->get<double>() <= static_cast<double>(step);
}

std::vector<std::string> lines_up_to(const std::filesystem::path& path, int64_t step) {
  std::vector<std::string> kept;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (is_up_to(line, step)) kept.push_back(line);
  }
  return kept;
}

}  // namespace

TrainLog::TrainLog(const std::filesystem::path& path, int64_t steps, int64_t first, bool progress)
    : path_(path),
      steps_(steps),
      first_(first),
      last_(first),
      bar_(progress && isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()),
      last_line_(start_) {
  // In its place at once: a run that is stopped now has all its lines.
  const std::vector<std::string> kept = lines_up_to(path, first);
  replace_file(path, [&](const ByteSink& sink) {
    for (const std::string& line : kept) {
      sink(line.data(), line.size());
      sink("\n", 1);
    }
  });
  file_.open(path, std::ios::app);
  check_file();
}

void TrainLog::check_file() const {
  if (!file_) throw Error(ErrorKind::kFailed, "'" + path_.string() + "' cannot be written");
}

TrainLog::~TrainLog() {
  if (bar_) std::cerr << '\n';
}

void TrainLog::Mean::add(double number) {
  if (!std::isfinite(number)) return;
  sum += number;
  ++count;
}

double TrainLog::Mean::value() const {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

void TrainLog::add(int64_t step, const TrainRecord& record, bool write) {
  loss_.add(record.loss);
  motion_.add(record.motion);
  accuracy_.add(record.accuracy);
  gradient_.add(record.gradient);
  if (write) {
    shown_loss_ = loss_.value();
    shown_accuracy_ = accuracy_.value();
    const double elapsed = seconds_since(last_line_);
    file_ << nlohmann::json{{"step", step},
                            {"loss", shown_loss_},
                            {"motion_loss", motion_.value()},
                            {"train_top1", shown_accuracy_},
                            {"learning_rate", record.learning_rate},
                            {"gradient_norm", gradient_.value()},
                            {"skipped_steps", record.skipped},
                            {"steps_per_second",
                             static_cast<double>(step - last_) / std::max(elapsed, 1e-9)}}
                 .dump()
          << std::endl;
    check_file();
    loss_ = motion_ = accuracy_ = gradient_ = {};
    last_ = step;
    last_line_ = std::chrono::steady_clock::now();
  }
  if (bar_) draw_bar(step);
}

void TrainLog::evaluation(int64_t step, double unmerged, double merged) {
  file_ << nlohmann::json{{"step", step}, {"eval_top1_r0", unmerged}, {"eval_top1", merged}}.dump()
        << std::endl;
  check_file();
  last_eval_ = merged;
}

void TrainLog::draw(const std::string& title) {
  if (!may_draw_) return;
  try {
    draw_log(path_, std::filesystem::path(path_).replace_extension(".png"), title);
  } catch (const std::exception& error) {  // OpenCV's, too: no picture is worth the training
    may_draw_ = false;
    if (bar_) std::cerr << '\n';
    cli::say(std::string(error.what()) + "; the training goes on without this picture");
  }
}

void TrainLog::draw_bar(int64_t step) {
  constexpr int kWidth = 30;
  const double done = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(steps_, 1));
  const double rate = static_cast<double>(step - first_) / std::max(seconds_since(start_), 1e-9);
  const auto left = static_cast<int64_t>(static_cast<double>(steps_ - step) / std::max(rate, 1e-9));
  const std::string bar(static_cast<size_t>(done * kWidth), '#');
  char text[200];
  std::snprintf(
      text, sizeof text, "\r[%-30s] %lld/%lld  loss %.3f  top-1 %.3f  eval %s  %lld:%02lld left ",
      bar.c_str(), static_cast<long long>(step), static_cast<long long>(steps_), shown_loss_,
      shown_accuracy_, last_eval_ < 0 ? "-" : std::to_string(last_eval_).substr(0, 5).c_str(),
      static_cast<long long>(left / 60), static_cast<long long>(left % 60));
  std::cerr << text << std::flush;
}

}  // namespace tome::train
