// Which requests make up the next batch, and when it starts. No threads, no clock of its own.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/task.h"

namespace tome {

struct BatchLimits {
  size_t batch_size = 8;
  Clock::duration timeout = std::chrono::milliseconds(5);
};

/// Note [Batches]
/// A batch holds requests whose schedules are equal (BatchKey), at most batch_size of them. It
/// starts
///  - when it is full, or
///  - when its oldest request has waited batch_timeout, or would else miss its deadline, or
///  - when one of its streams can go on only after it (hurry), or
///  - when nobody could add to it: every stream of its key has reached max_pending, has ended, or
///    has submitted nothing since two batches ago. Without this rule a stream with a short queue
///    would wait the timeout before each of its batches while the device does nothing.
/// Of several groups that may start, the one whose stream was served longest ago goes first.
///
/// Note [Fairness]
/// Requests are taken one from each stream in turn, starting with the one that was served longest
/// ago; one that opens counts as served just then. Before a stream that waits has its turn, every
/// batch serves those that have waited longer, so with S streams of a key it is served at least
/// once in ceil(S / batch_size) batches, to which those of other keys are added. Within a stream
/// requests are taken in order. A stream that has nothing queued is passed over.
///
/// Note [Overload]
/// A request left behind by a batch waits for two more: the one that runs and its own. That is
/// worth it for a burst, not where every batch leaves some behind: latency would stand at the most
/// that deadlines allow, and any batch that takes longer would go beyond. So when a second batch of
/// a key in a row finds more requests with deadlines than it holds, each stream keeps its newest,
/// as many as are its share of this batch, and the older ones are skipped. As many are inferred as
/// before, and a frame's latency is the rest of the batch under way when it came, and its own.
/// Where more streams wait than a batch has places, as many batches as serve each once count as
/// one.
/// Requests without a deadline are left alone and crowd nobody out.
class BatchPolicy {
 public:
  explicit BatchPolicy(BatchLimits limits) : limits_(limits) {}

  void add(std::shared_ptr<StreamQueue> stream) {
    stream->served = served_;
    streams_.push_back(std::move(stream));
  }
  void remove(const std::shared_ptr<StreamQueue>& stream) { std::erase(streams_, stream); }
  const std::vector<std::shared_ptr<StreamQueue>>& streams() const { return streams_; }

  struct Decision {
    std::shared_ptr<const BatchKey> key;  ///< start this batch now, or
    TimePoint wake = TimePoint::max();    ///< look again then; max: when something changes
  };
  /// @param batch_number  batches started so far
  /// @param duration      what a full batch takes
  Decision decide(TimePoint now, uint64_t batch_number, Clock::duration duration) const;

  /// Takes the requests of the next batch of `key`.
  std::vector<Slot> take(const BatchKey& key);

  /// Call once for each batch, before take(): removes and returns the tasks that overload leaves no
  /// room for. See Note [Overload].
  std::vector<std::shared_ptr<Task>> take_surplus(const BatchKey& key);

  /// Batches that it takes to serve each stream once, those aside that have ended and have nothing
  /// queued: Note [Fairness].
  size_t round_length() const;

  /// Removes and returns the tasks, not yet begun, whose deadline is not after `when`.
  std::vector<std::shared_ptr<Task>> take_expired(TimePoint when);

  const BatchLimits& limits() const { return limits_; }

 private:
  TimePoint start_time(const BatchKey& key, uint64_t batch_number, Clock::duration duration) const;
  std::vector<StreamQueue*> in_turn(const BatchKey* key = nullptr) const;
  std::map<const StreamQueue*, size_t> shares(const BatchKey& key) const;
  size_t places(const BatchKey& key) const;
  size_t batches_for(size_t requests) const;
  bool note_crowded(const BatchKey& key, bool crowded);
  static Slot take_one(StreamQueue& stream);

  BatchLimits limits_;
  std::vector<std::shared_ptr<StreamQueue>> streams_;
  uint64_t served_ = 0;            // requests taken
  std::vector<BatchKey> crowded_;  // whose last batch had less room than there were deadlines
};

}  // namespace tome
