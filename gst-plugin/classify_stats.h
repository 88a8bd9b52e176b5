// The figures behind the property `stats`.
#pragma once

#include <gst/gst.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "engine/c_api.h"
#include "gst_ptr.h"

namespace tome::gst {

/// Thread-safe: written by the task, read by whoever asks for the property.
class ClassifyStats {
 public:
  void reset();
  /// What the model that is open now runs on, as the core chose; null: none is. Not touched by
  /// reset().
  void set_model(const char* device, const char* precision);
  /// A buffer is about to be pushed; times are CLOCK_MONOTONIC nanoseconds.
  void count_frame(int64_t arrival, int64_t now);
  void count_inference(const TomeResult& result);
  void count_skipped();
  uint64_t frames() const;
  uint64_t skipped() const;

  /// Fields as the property's documentation lists them.
  Ptr<GstStructure> structure() const;

 private:
  /// The last N values, oldest overwritten.
  template <typename T, size_t N>
  struct Ring {
    std::array<T, N> values{};
    size_t count = 0;  // ever written

    void add(T value) { values[count++ % N] = value; }
    size_t size() const { return count < N ? count : N; }
    T newest() const { return values[(count - 1) % N]; }
    T oldest() const { return values[count < N ? 0 : count % N]; }
  };

  using Milliseconds = Ring<double, 1024>;
  static double quantile(const Milliseconds& of, double share);
  double frames_per_second() const;

  mutable std::mutex mutex_;
  std::string device_, precision_;  // empty while no model is open
  uint64_t frames_ = 0, inferences_ = 0, skipped_ = 0;
  uint64_t batch_sizes_ = 0;  // the sum of those that the inferences ran in
  unsigned tokens_in_ = 0, tokens_out_ = 0;
  Milliseconds latencies_, queued_, forwards_;
  Ring<int64_t, 256> pushes_;
};

}  // namespace tome::gst
