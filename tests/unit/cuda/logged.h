// What the core logs while a test runs.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "engine/log.h"

namespace tome::testing {

/// What was logged at one level while this lived.
class Logged {
 public:
  explicit Logged(LogLevel of = LogLevel::kInfo) {
    set_log_sink([this, of](LogLevel level, const std::string& text) {
      const std::lock_guard lock(mutex_);
      if (level == of) lines_.push_back(text);
    });
  }
  ~Logged() { set_log_sink({}); }
  Logged(const Logged&) = delete;
  Logged& operator=(const Logged&) = delete;

  size_t lines() const {
    const std::lock_guard lock(mutex_);
    return lines_.size();
  }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string& line : lines_) all += line + "\n";
    return all;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace tome::testing
