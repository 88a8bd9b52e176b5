// A core library without a model, for tests of the element: what it answers is decided by the test.
//
// The plugin opens it through TOMEVIT_LIBRARY; the test program links it, so both see one object.
// A result's only tag tells which pixel the core saw: id = the first byte of plane 0 at the
// region's corner, label = "value-<id>", score = id / 255.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/c_api.h"

namespace tome::testing {

/// A frame as submit() got it.
struct SeenFrame {
  TomePixelFormat format;
  int32_t width, height;
  int32_t pixel_aspect_n, pixel_aspect_d;
  std::vector<int64_t> strides;
  std::vector<uint64_t> plane_sizes;
  TomeColorMatrix matrix;
  TomeColorRange range;
  TomeMemoryKind memory;
  int32_t device;
  void* producer_stream;
  std::vector<const uint8_t*> planes;
  int64_t pts, duration;
  bool discont, no_inference;
  int64_t deadline;
  std::vector<TomeRegion> regions;
  std::vector<uint8_t> corners;  ///< first byte of each plane
};

/// How the next models and streams behave.
struct FakeBehaviour {
  std::string device = "cpu";     ///< where models say they run
  bool takes_cuda_frames = true;  ///< where that is a CUDA device
  uint32_t clip_length = 1;
  int64_t batch_duration = 10'000'000;  ///< nanoseconds, as model_batch_duration says
  int64_t round_length = 1;             ///< batches, of model_longest_wait
  int delay_ms = 0;                     ///< what a forward really takes
  bool late_after_first = false;        ///< deadlines of all but the first frame have passed
  bool batches_fill = false;            ///< they do not yet: hurry() opens the gate
  uint32_t tokens_in = 197, tokens_out = 41;
};

class FakeCore {
 public:
  static FakeCore& instance();

  /// Default behaviour, open gate, nothing seen, no failures planned.
  void reset();
  void set(const FakeBehaviour& behaviour);

  /// While closed, no forward ends.
  void close_gate();
  void open_gate();
  /// Lets exactly one more forward end.
  void let_one_through();

  void fail_acquire(TomeStatus status, const std::string& text);
  void fail_stream_open(TomeStatus status, const std::string& text);
  void fail_submit(TomeStatus status, const std::string& text);
  void fail_next_ticket(TomeStatus status, const std::string& text);
  void fail_adjust(TomeStatus status, const std::string& text);

  /// Runs `task` in the thread of the next call, before anything else.
  void at_stream_open(std::function<void()> task);
  void at_submit(std::function<void()> task);
  void at_model_release(std::function<void()> task);

  std::vector<SeenFrame> frames() const;
  /// What the last model and stream were opened with, strings as "key=value ...".
  std::string model_config() const;
  std::string stream_config() const;
  std::string schedule() const;
  /// What was last asked of stream_adjust, "k=3 threshold=0.5 interval=5"; empty: nothing yet.
  std::string adjustment() const;

  /// Things handed out and not given back.
  int models() const;
  int streams() const;
  int tickets() const;
  int mapped_frames() const;
  /// Calls of hurry() so far.
  int hurries() const;
  /// Calls of drain() so far.
  int drains() const;
  /// Calls that the contract of c_api.h forbids.
  int misuses() const;
  /// Blocks until `n` frames were submitted or 10 s have passed.
  bool wait_for_frames(size_t n) const;

  struct State;
  State& state() { return *state_; }

 private:
  FakeCore();
  std::unique_ptr<State> state_;
};

}  // namespace tome::testing
