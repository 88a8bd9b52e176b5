// The future-like side of one submitted frame.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "engine/classification.h"
#include "tome_error.h"

namespace tome {

enum class Outcome {
  kResult,     ///< fresh results, maybe none of them (no region lies inside the frame)
  kNone,       ///< nothing was due for this frame
  kSkipped,    ///< due, but late
  kCancelled,  ///< the stream was flushed or closed
  kFailed,     ///< error_text says why
};

/// Completed exactly once, by the engine; read by any thread.
class Ticket {
 public:
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  Outcome wait() const;

  /// Valid once ready.
  const std::vector<Classification>& results() const { return results_; }
  ErrorKind error_kind() const { return error_kind_; }
  const std::string& error_text() const { return error_text_; }

  void complete(Outcome outcome, std::vector<Classification> results = {});
  void fail(ErrorKind kind, std::string text);

 private:
  void publish();

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::atomic<bool> ready_ = false;
  Outcome outcome_ = Outcome::kNone;
  std::vector<Classification> results_;
  ErrorKind error_kind_ = ErrorKind::kFailed;
  std::string error_text_;
};

}  // namespace tome
