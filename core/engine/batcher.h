// One worker thread that serves many streams: collects their requests into batches and runs them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "engine/batch_duration.h"
#include "engine/batch_policy.h"
#include "engine/failure.h"
#include "engine/memory_limit.h"
#include "engine/session.h"

namespace tome {

/// What the worker needs to begin.
struct OpenedSession {
  std::unique_ptr<DeviceSession> session;
  Clock::duration batch_duration{};  ///< of a full batch, as warm-up measured it
  size_t most_requests = 0;          ///< that there was memory for; 0: there was for a full batch
  /// Does what is done once for requests of this key; empty where that is nothing.
  std::function<void(const BatchKey&)> warm_up;
};

/// Registers the handler of Note [Exit while streams run] (batcher.cpp) anew, so that it runs
/// before globals go that workers use and that were made after the first batcher came.
void stop_batchers_at_exit();

/// Note [Locks and threads]
/// Forwards run on the worker alone, which also opens the session (OpenMP keeps a pool of threads
/// for each thread that ever called it). One mutex guards the queues and is never held while pixels
/// are read, a forward runs, a ticket completes or a frame is released: all of these call out. The
/// worker sleeps on a condition variable until a decision changes or its time has come.
///
/// Note [Warm-up by schedule]
/// A device may have things to measure for each schedule, which takes seconds. A stream that opens
/// waits for that, so that its first frames need not; it does without where batches of other
/// streams run already, since they would wait, too. So does a schedule that changes while its
/// stream runs.
///
/// Note [A batch in parts]
/// A batch that does not fit the memory (MemoryLimit) runs in parts, one after the other: pixels,
/// forward, tickets. The pixels of the parts to come stay as they are meanwhile, so a task that is
/// cancelled or fails is taken out of them.
///
/// Every public function may be called from any thread; `submit` by one thread at a time per
/// stream.
class Batcher {
 public:
  /// Opens the session on the worker and waits for it.
  /// @throws Error that says what `open` threw or why there is no thread, and kFailed once the
  /// process ends
  Batcher(BatchLimits limits, const std::function<OpenedSession()>& open);
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  /// A stream whose requests run with `key`. Blocks while the worker does what is done once for
  /// that key, unless other streams' batches run: Note [Warm-up by schedule]. If that fails, the
  /// log says so and the stream opens all the same.
  /// @param max_pending  tickets pending when wait_for_room blocks, >= 1
  /// @throws Error kFailed once the process ends
  std::shared_ptr<StreamQueue> open_stream(size_t max_pending, const ScoreOptions& scoring,
                                           BatchKey key);
  /// Cancels what is pending, and waits until the batch that runs reads none of the stream's pixels
  /// and computes none of its results any more. What another thread was settling at that moment is
  /// not waited for: its frame may be released, and its ticket become ready, after this returns.
  void close_stream(const std::shared_ptr<StreamQueue>& stream);
  /// Cancels what is pending. A ticket whose pixels are being read at this moment is cancelled as
  /// soon as they have been.
  void flush(StreamQueue& stream);
  /// From the next batch on, for requests that wait already, too.
  void set_key(StreamQueue& stream, BatchKey key);
  /// Nothing more comes until the next wait_for_room: batches need not wait for this stream, nor
  /// does it count for longest_wait() once what it has queued has run.
  void end(StreamQueue& stream);

  /// What is queued runs as soon as the worker is free. Until the next submit.
  void hurry(StreamQueue& stream);

  uint64_t epoch(const StreamQueue& stream) const;
  /// Blocks while max_pending tickets are pending. The stream's epoch, or nothing if it was flushed
  /// or closed meanwhile.
  std::optional<uint64_t> wait_for_room(StreamQueue& stream);
  /// Queues a task that was begun in `epoch`; completes it as cancelled if that has passed.
  void submit(const std::shared_ptr<Task>& task, uint64_t epoch);

  /// For the end of the process: cancels what is pending and what comes, and the worker ends after
  /// the batch that runs, or when it has opened the session.
  void ask_to_stop();
  /// Until nobody computes any more.
  void wait_stopped(Clock::duration most);

  /// The session's, on the calling thread. @throws Error as it, and kFailed once the process ends
  PatchesPtr preprocess_one(const Frame& frame);
  const BatchLimits& limits() const { return policy_.limits(); }
  /// That a request of a stream with nothing else queued waits at most for its forward to begin,
  /// with the streams that are open now and have not ended.
  Clock::duration longest_wait() const { return batch_duration() * round_length_.load(); }
  /// An average over the last full batches, pre-processing included.
  Clock::duration batch_duration() const { return batch_duration_.average(); }

 private:
  /// A task whose outcome is decided; carried out without the lock.
  struct Settled {
    std::shared_ptr<Task> task;
    Outcome outcome;
    std::exception_ptr error;
  };
  using SettledList = std::vector<Settled>;

  struct WarmUp {
    BatchKey key;
    std::promise<void> done;
  };

  void count_round() { round_length_ = static_cast<Clock::rep>(policy_.round_length()); }
  void warm_up_for(const BatchKey& key);
  void run_warm_up(std::unique_lock<std::mutex>& lock);
  void work(const std::function<OpenedSession()>& open,
            std::promise<std::optional<Failure>>& opened);
  void serve();
  void say_stopped();
  std::vector<std::shared_ptr<Task>> form_batch(const BatchKey& key, TimePoint now);
  void skip(std::unique_lock<std::mutex>& lock, const std::vector<std::shared_ptr<Task>>& tasks);
  void run_batch(const BatchKey& key);
  /// Of the first `count` requests in running_. How many of them are left to be classified, which
  /// come first; nothing where there was no memory for so many, but is for fewer.
  std::optional<size_t> preprocess(size_t count);
  /// Whether this is an error that half as many requests may not meet. If so, it is remembered.
  bool runs_in_halves(const char* what, size_t requests, const std::exception_ptr& error);
  /// Ends the reading of the first requests in running_, by their errors. How many are left.
  size_t drop_unusable(const std::vector<std::exception_ptr>& errors);
  void forward(const BatchKey& key, size_t begin, size_t end, double preprocess_ms, TimePoint begun,
               std::vector<std::exception_ptr>& errors);
  void keep_results(const BatchOutput& output, size_t begin, size_t end, double preprocess_ms,
                    double inference_ms, TimePoint begun);
  /// The first requests in running_ have results, or these errors.
  void settle_part(const std::vector<std::exception_ptr>& errors);
  /// With the lock: settles what was cancelled, and takes out of running_ what is settled, of which
  /// nothing need be read or computed any more. Without the lock, let_go() is to follow.
  std::vector<Slot> take_settled(SettledList& list);
  static void let_go(std::vector<Slot> slots);
  void cancel_pending(StreamQueue& stream, SettledList& list);
  static void settle(const std::shared_ptr<Task>& task, Outcome outcome,
                     const std::exception_ptr& error, SettledList& list);
  static void carry_out(SettledList& list);

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  BatchPolicy policy_;
  std::unique_ptr<DeviceSession> session_;
  std::function<void(const BatchKey&)> warm_up_;
  std::vector<std::pair<BatchKey, std::shared_future<void>>> warm_;  // done, or asked for
  std::deque<WarmUp> warm_ups_;
  MemoryLimit memory_;         // the worker's
  std::vector<Slot> running_;  // changed by the worker, with the lock; read by others with it
  uint64_t batch_number_ = 0;
  int visitors_ = 0;  // threads in preprocess_one
  bool stopping_ = false, stopped_ = false;
  std::thread::id worker_id_;  // once it runs
  std::condition_variable stopped_changed_;
  BatchDuration batch_duration_;              // written by the worker
  std::atomic<Clock::rep> round_length_ = 1;  // the policy's; read without the lock
  std::thread worker_;
};

}  // namespace tome
