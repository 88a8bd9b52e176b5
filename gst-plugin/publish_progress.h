// The line that tomepublish keeps up to date on a terminal.
#pragma once

#include <chrono>
#include <cstdint>

#include "classification_meta.h"

namespace tome::gst {

/// One line on stderr, rewritten in place a few times a second; silent when stderr is no terminal.
class PublishProgress {
 public:
  void start(bool enabled);
  void frame();
  void result(const Classification& result);
  /// Leaves the cursor on a line of its own.
  void finish();

 private:
  void show(std::chrono::steady_clock::time_point now);

  bool enabled_ = false;
  bool shown_ = false;
  uint64_t frames_ = 0;
  Tag best_;
  std::chrono::steady_clock::time_point began_{};
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace tome::gst
