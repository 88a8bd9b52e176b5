// What the batcher queues: one frame or clip of one stream, with its one or many regions.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "engine/classification.h"
#include "engine/postprocess.h"
#include "engine/session.h"
#include "engine/ticket.h"

namespace tome {

/// CLOCK_MONOTONIC, as deadlines are.
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

inline double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

/// Requests can share a forward if these are equal. The number of tokens is no part of it: it is
/// the same for all requests of one model instance.
struct BatchKey {
  std::vector<int64_t> r;
  PropAttn prop_attn = PropAttn::kAuto;
  double static_threshold = -1;  ///< grey levels; negative: off
  bool operator==(const BatchKey&) const = default;
};

struct StreamQueue;

/// One ticket's work. Requests (one for each region) are made from it only when their batch forms,
/// so that a frame with thousands of regions takes no more memory than the list of its regions.
struct Task {
  // Set before it is queued, constant after.
  std::shared_ptr<StreamQueue> stream;
  std::shared_ptr<Ticket> ticket;
  std::vector<PatchesPtr> clip;  ///< a window, pre-processed; empty: `frame` is to be
  std::vector<Region> regions;   ///< parts of the frame, inside it; width 0: all of it
  bool full_frame = true;        ///< the results continue those of the frame before
  std::optional<TimePoint> deadline;
  TimePoint enqueued;
  uint64_t generation = 0;              ///< of smoothing
  ScoreLimits limits;                   ///< of its results
  std::vector<Classification> results;  ///< one for each region; filled by the worker alone

  // Guarded by the batcher's mutex while queued; then its last owner's.
  Frame frame;
  size_t taken = 0;      ///< requests made
  size_t reading = 0;    ///< requests whose pixels are being read
  size_t done = 0;       ///< requests classified
  bool settled = false;  ///< the outcome is decided and pending counts it no more
  bool cancel = false;   ///< settle as cancelled once no pixel is being read

  size_t untaken() const { return regions.size() - taken; }
};

/// The batcher's view of one stream; everything but the constants is guarded by the batcher's
/// mutex.
struct StreamQueue {
  StreamQueue(size_t bound, ScoreOptions options) : max_pending(bound), scorer(options) {}

  const size_t max_pending;
  Scorer scorer;  ///< used by the worker alone

  std::shared_ptr<const BatchKey> key;
  std::deque<std::shared_ptr<Task>> tasks;
  size_t pending = 0;  ///< tickets not settled
  size_t running = 0;  ///< requests in the batch that runs
  uint64_t epoch = 0;  ///< flushes so far
  bool open = true;
  bool ended = false;                   ///< nothing more is to come until the next frame (drained)
  bool hurried = false;                 ///< nothing can come before what is queued has run
  std::optional<uint64_t> last_active;  ///< number of the batch that was next at the last submit
  uint64_t served = 0;                  ///< number of the last request taken, over all streams
  std::condition_variable changed;      ///< room in the queue, a flush, nothing running

  bool has_room() const { return pending < max_pending; }
};

/// One request of a batch.
struct Slot {
  std::shared_ptr<Task> task;
  size_t index = 0;  ///< region of the task
  Frame frame;
  std::vector<PatchesPtr> patches;
};

}  // namespace tome
