// What the core does with the same frames and no pipeline around it.
#pragma once

#include <deque>
#include <memory>

#include "engine/c_api.h"
#include "stream_run.h"

namespace tome::bench {

/// Frames of all sources from memory, in turn, through the core's own table of functions. It holds
/// the model that the elements share, and competes with them only inside `measure`.
class CoreAlone {
 public:
  /// @throws std::runtime_error with the core's error
  explicit CoreAlone(const StreamOptions& options);
  ~CoreAlone();
  CoreAlone(const CoreAlone&) = delete;
  CoreAlone& operator=(const CoreAlone&) = delete;

  void measure(double seconds);
  /// Over all measurements so far.
  double frames_per_s() const { return static_cast<double>(frames_) / seconds_; }
  /// One full batch, pre-processing included: what it took in these measurements.
  double batch_ms() const { return 1000.0 * batch_size_ / frames_per_s(); }

 private:
  struct HeldFrame;

  void submit_one();
  void finish_one();

  const TomeCoreApi* api_ = nullptr;
  int batch_size_;
  size_t n_sources_;
  TomeModel* model_ = nullptr;
  TomeStream* stream_ = nullptr;
  std::deque<HeldFrame> held_;
  std::deque<TomeTicket*> pending_;
  size_t submitted_ = 0;
  size_t frames_ = 0;
  double seconds_ = 0;
};

}  // namespace tome::bench
