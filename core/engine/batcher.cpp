#include "engine/batcher.h"

#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "engine/failure.h"
#include "engine/log.h"
#include "never_destroyed.h"
#include "vit/default_arithmetic.h"

namespace tome {
namespace {

/// Note [Exit while streams run]
/// A program may call exit() while a pipeline plays, or while it opens a model. LibTorch's globals
/// are then destroyed under a worker in the middle of a forward. So a handler is registered before
/// the first worker starts, after what LibTorch makes with its first tensor, and therefore runs
/// before that goes. It cancels what is queued, and lets each worker finish opening its model or
/// its batch and each thread the frame that it pre-processes, for which it waits a while: a device
/// may hang. Our own globals are never destroyed, see never_destroyed.h. Some of LibTorch's come
/// with the first forward, or with its CUDA half, which may be loaded later than that; the handler
/// is then registered once more, and the first that runs does the work.
class LiveBatchers {
 public:
  static LiveBatchers& all() { return never_destroyed<LiveBatchers>(); }

  LiveBatchers() {
    at::globalContext();
    at::empty({1});  // what allocates, and counts calls
    register_handler();
  }
  static void register_handler() {
    std::atexit([] { all().stop(); });
  }
  /// Before its worker starts: exit() may come at any moment.
  /// @throws Error kFailed once the process ends
  void add(Batcher* batcher) {
    const std::lock_guard lock(mutex_);
    if (stopped_) throw Error(ErrorKind::kFailed, "the process is ending");
    live_.push_back({batcher, getpid()});
  }
  void remove(Batcher* batcher) {
    const std::lock_guard lock(mutex_);
    std::erase_if(live_, [&](const Live& live) { return live.batcher == batcher; });
  }

 private:
  struct Live {
    Batcher* batcher;
    pid_t process;  // a child that was forked has none of its parent's threads
  };

  bool is_live(const Batcher* batcher) const {
    return std::any_of(live_.begin(), live_.end(),
                       [&](const Live& live) { return live.batcher == batcher; });
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) return;
    std::erase_if(live_, [](const Live& live) { return live.process != getpid(); });
    const std::vector<Live> all = live_;  // which may become fewer meanwhile
    for (const Live& live : all) {
      if (is_live(live.batcher)) live.batcher->ask_to_stop();
    }
    const TimePoint end = Clock::now() + std::chrono::seconds(5);
    for (const Live& live : live_) live.batcher->wait_stopped(end - Clock::now());
  }

  std::recursive_mutex mutex_;  // what is cancelled may be the last that holds another model
  std::vector<Live> live_;
  bool stopped_ = false;
};

}  // namespace

void stop_batchers_at_exit() { LiveBatchers::register_handler(); }

Batcher::Batcher(BatchLimits limits, const std::function<OpenedSession()>& open)
    : policy_(limits), memory_(limits.batch_size), batch_duration_(limits.batch_size) {
  std::promise<std::optional<Failure>> opened;
  std::future<std::optional<Failure>> result = opened.get_future();
  std::optional<Failure> failure;
  LiveBatchers::all().add(this);
  try {
    // The worker owns the promise: it may still be inside set_value when this function returns.
    worker_ =
        std::thread([this, &open, opened = std::move(opened)]() mutable { work(open, opened); });
    failure = result.get();
  } catch (...) {  // the system gives no more threads
    failure = describe_failure(std::current_exception());
    say_stopped();
  }
  if (!failure) return;
  if (worker_.joinable()) worker_.join();
  LiveBatchers::all().remove(this);
  // See Note [Exceptions stay on their thread] in shared_cache.h.
  throw Error(failure->kind, failure->text);
}

Batcher::~Batcher() {
  LiveBatchers::all().remove(this);
  ask_to_stop();
  worker_.join();
}

void Batcher::ask_to_stop() {
  SettledList list;
  std::vector<std::shared_ptr<StreamQueue>> streams;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    streams = policy_.streams();
    for (const auto& stream : streams) {
      stream->open = false;
      cancel_pending(*stream, list);
    }
  }
  wake_.notify_one();
  carry_out(list);
  for (const auto& stream : streams) stream->changed.notify_all();
}

PatchesPtr Batcher::preprocess_one(const Frame& frame) {
  struct Visit {
    explicit Visit(Batcher& of) : batcher(of) {
      const std::lock_guard lock(batcher.mutex_);
      if (batcher.stopping_) throw Error(ErrorKind::kFailed, "the process is ending");
      ++batcher.visitors_;
    }
    ~Visit() {
      const std::lock_guard lock(batcher.mutex_);
      --batcher.visitors_;
      batcher.stopped_changed_.notify_all();
    }
    Batcher& batcher;
  };
  const Visit visit(*this);
  const DefaultArithmetic arithmetic;
  return session_->preprocess_one(frame);
}

void Batcher::wait_stopped(Clock::duration most) {
  std::unique_lock lock(mutex_);
  if (worker_id_ == std::this_thread::get_id()) return;  // exit() in a callback
  stopped_changed_.wait_for(lock, most, [this] { return stopped_ && visitors_ == 0; });
}

void Batcher::say_stopped() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  stopped_changed_.notify_all();
}

std::shared_ptr<StreamQueue> Batcher::open_stream(size_t max_pending, const ScoreOptions& scoring,
                                                  BatchKey key) {
  warm_up_for(key);
  auto stream = std::make_shared<StreamQueue>(max_pending, scoring);
  stream->key = std::make_shared<const BatchKey>(std::move(key));
  const std::lock_guard lock(mutex_);
  if (stopping_) throw Error(ErrorKind::kFailed, "the process is ending");
  policy_.add(stream);
  count_round();
  return stream;
}

void Batcher::warm_up_for(const BatchKey& key) {
  std::shared_future<void> done;
  {
    const std::lock_guard lock(mutex_);
    if (!warm_up_ || stopping_) return;
    const auto found = std::find_if(warm_.begin(), warm_.end(),
                                    [&](const auto& warm) { return warm.first == key; });
    const bool others_run = batch_number_ > 0 && !policy_.streams().empty();
    if (found != warm_.end()) {
      done = found->second;  // it may be under way
    } else if (others_run) {
      return;
    } else {
      done = warm_ups_.emplace_back(WarmUp{key, {}}).done.get_future().share();
      warm_.emplace_back(key, done);
    }
  }
  wake_.notify_one();
  done.wait();
}

void Batcher::run_warm_up(std::unique_lock<std::mutex>& lock) {
  WarmUp next = std::move(warm_ups_.front());
  warm_ups_.pop_front();
  lock.unlock();
  try {
    warm_up_(next.key);
  } catch (...) {  // requests will say what is wrong, or run for all that
    log(LogLevel::kWarning, "warm-up failed: " + describe_failure(std::current_exception()).text);
  }
  next.done.set_value();
  lock.lock();
}

void Batcher::close_stream(const std::shared_ptr<StreamQueue>& stream) {
  SettledList list;
  {
    const std::lock_guard lock(mutex_);
    stream->open = false;
    cancel_pending(*stream, list);
    policy_.remove(stream);
    count_round();
  }
  wake_.notify_one();
  carry_out(list);
  std::unique_lock lock(mutex_);
  stream->changed.wait(lock, [&] { return stream->running == 0; });
}

void Batcher::flush(StreamQueue& stream) {
  SettledList list;
  {
    const std::lock_guard lock(mutex_);
    cancel_pending(stream, list);
    count_round();
  }
  wake_.notify_one();
  carry_out(list);
  stream.changed.notify_all();
}

void Batcher::cancel_pending(StreamQueue& stream, SettledList& list) {
  ++stream.epoch;
  stream.last_active.reset();  // what comes after a flush may take its time
  const auto cancel = [&list](const std::shared_ptr<Task>& task) {
    if (task->reading > 0) {
      task->cancel = true;
    } else {
      settle(task, Outcome::kCancelled, nullptr, list);
    }
  };
  for (const auto& task : std::exchange(stream.tasks, {})) cancel(task);
  for (const Slot& slot : running_) {
    if (slot.task->stream.get() == &stream) cancel(slot.task);
  }
}

void Batcher::set_key(StreamQueue& stream, BatchKey key) {
  auto shared = std::make_shared<const BatchKey>(std::move(key));
  {
    const std::lock_guard lock(mutex_);
    stream.key.swap(shared);
    count_round();
  }
  wake_.notify_one();
}

void Batcher::end(StreamQueue& stream) {
  {
    const std::lock_guard lock(mutex_);
    stream.ended = true;
    count_round();
  }
  wake_.notify_one();
}

void Batcher::hurry(StreamQueue& stream) {
  {
    const std::lock_guard lock(mutex_);
    stream.hurried = true;
  }
  wake_.notify_one();
}

uint64_t Batcher::epoch(const StreamQueue& stream) const {
  const std::lock_guard lock(mutex_);
  return stream.epoch;
}

std::optional<uint64_t> Batcher::wait_for_room(StreamQueue& stream) {
  std::unique_lock lock(mutex_);
  if (std::exchange(stream.ended, false)) count_round();
  const uint64_t epoch = stream.epoch;
  stream.changed.wait(lock, [&] { return stream.has_room() || stream.epoch != epoch; });
  if (stream.epoch != epoch || !stream.open) return std::nullopt;
  return epoch;
}

void Batcher::submit(const std::shared_ptr<Task>& task, uint64_t epoch) {
  StreamQueue& stream = *task->stream;
  SettledList list;
  {
    const std::lock_guard lock(mutex_);
    ++stream.pending;
    if (stream.epoch != epoch || !stream.open) {
      settle(task, Outcome::kCancelled, nullptr, list);
    } else {
      task->enqueued = Clock::now();
      stream.hurried = false;
      stream.last_active = batch_number_;
      stream.tasks.push_back(task);
    }
  }
  wake_.notify_one();
  carry_out(list);
}

void Batcher::settle(const std::shared_ptr<Task>& task, Outcome outcome,
                     const std::exception_ptr& error, SettledList& list) {
  if (task->settled) return;
  task->settled = true;
  StreamQueue& stream = *task->stream;
  --stream.pending;
  // A frame with many regions may still wait for its next batch.
  std::erase(stream.tasks, task);
  list.push_back({task, outcome, error});
}

void Batcher::carry_out(SettledList& list) {
  for (Settled& settled : list) {
    Task& task = *settled.task;
    task.frame = Frame{};  // releases the pixels: always before the ticket is ready
    if (settled.error) {
      const Failure failure = describe_failure(settled.error);
      task.ticket->fail(failure.kind, failure.text);
    } else if (settled.outcome == Outcome::kResult) {
      task.ticket->complete(settled.outcome, std::move(task.results));
    } else {
      // A forward that runs may still write the results of a cancelled task: they stay where they
      // are.
      task.ticket->complete(settled.outcome);
    }
    task.stream->changed.notify_all();
  }
  list.clear();
}

void Batcher::work(const std::function<OpenedSession()>& open,
                   std::promise<std::optional<Failure>>& opened) {
  const DefaultArithmetic arithmetic;
  const c10::InferenceMode inference;
  {
    const std::lock_guard lock(mutex_);
    worker_id_ = std::this_thread::get_id();
  }
  std::optional<Failure> failure;
  try {
    OpenedSession session = open();
    session_ = std::move(session.session);
    warm_up_ = std::move(session.warm_up);
    batch_duration_.set(session.batch_duration);
    if (session.most_requests > 0) memory_.refuse(2 * session.most_requests, Clock::now());
  } catch (...) {
    failure = describe_failure(std::current_exception());
  }
  const bool ready = !failure;
  if (ready) {
    // The first has run forwards by now.
    static const bool registered = (stop_batchers_at_exit(), true);
    static_cast<void>(registered);
  }
  opened.set_value(std::move(failure));
  if (ready) serve();
  say_stopped();
}

void Batcher::serve() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (!warm_ups_.empty()) {
      run_warm_up(lock);
      continue;
    }
    const TimePoint now = Clock::now();
    const auto late = policy_.take_expired(now);
    if (!late.empty()) skip(lock, late);
    const BatchPolicy::Decision decision = policy_.decide(now, batch_number_, batch_duration());
    if (!decision.key) {
      // skip() unlocked: what we were told meanwhile must be seen before we wait.
      if (!late.empty()) continue;
      if (decision.wake == TimePoint::max()) {
        wake_.wait(lock);
      } else {
        wake_.wait_until(lock, decision.wake);
      }
      continue;
    }
    skip(lock, form_batch(*decision.key, now));
    lock.unlock();
    run_batch(*decision.key);
    lock.lock();
  }
  for (WarmUp& waiting : warm_ups_) waiting.done.set_value();
  warm_ups_.clear();
}

}  // namespace tome
