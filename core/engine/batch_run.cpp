// The worker's way through one batch: its requests, pixels, forward, results.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/batcher.h"
#include "engine/failure.h"
#include "engine/log.h"

namespace tome {

/// Fills running_; returns what this batch leaves no chance to.
std::vector<std::shared_ptr<Task>> Batcher::form_batch(const BatchKey& key, TimePoint now) {
  ++batch_number_;
  std::vector<std::shared_ptr<Task>> hopeless = policy_.take_surplus(key);
  running_ = policy_.take(key);
  // What stays behind and cannot be in time for the batch after this one is let go now, not then.
  const auto share =
      static_cast<double>(running_.size()) / static_cast<double>(policy_.limits().batch_size);
  const TimePoint next =
      now + std::chrono::duration_cast<Clock::duration>(batch_duration() * share);
  for (auto& task : policy_.take_expired(next)) hopeless.push_back(std::move(task));
  return hopeless;
}

void Batcher::skip(std::unique_lock<std::mutex>& lock,
                   const std::vector<std::shared_ptr<Task>>& tasks) {
  count_round();  // of streams that have ended the last requests may be gone
  SettledList list;
  for (const auto& task : tasks) settle(task, Outcome::kSkipped, nullptr, list);
  if (list.empty()) return;
  lock.unlock();
  carry_out(list);
  lock.lock();
}

void Batcher::run_batch(const BatchKey& key) {
  const TimePoint started = Clock::now();
  size_t requests = 0;
  bool failed = false;
  while (!running_.empty()) {
    const TimePoint begun = Clock::now();
    // As of `started`, so that what this batch was refused is not tried again within it.
    const size_t part = std::min(running_.size(), memory_.most(started));
    const std::optional<size_t> left = preprocess(part);
    if (!left) continue;  // in smaller parts
    const double preprocess_ms = milliseconds(Clock::now() - begun);
    std::vector<std::exception_ptr> errors(*left);
    if (*left > 0) {
      forward(key, 0, *left, preprocess_ms, begun, errors);
    } else {
      session_->finish_reading();
    }
    requests += *left;
    failed = failed || std::any_of(errors.begin(), errors.end(), [](const auto& e) { return !!e; });
    const bool last = *left == running_.size();
    if (last && requests > 0 && !failed) batch_duration_.learn(requests, Clock::now() - started);
    settle_part(errors);
  }
}

std::optional<size_t> Batcher::preprocess(size_t count) {
  std::vector<PreprocessJob> jobs;
  std::vector<size_t> slot_of_job;
  for (size_t i = 0; i < count; ++i) {
    if (!running_[i].patches.empty()) continue;
    jobs.push_back({&running_[i].frame, nullptr, nullptr});
    slot_of_job.push_back(i);
  }
  std::vector<std::exception_ptr> errors(count);
  try {
    if (!jobs.empty()) session_->preprocess(jobs);
  } catch (...) {
    if (runs_in_halves("pre-processing", count, std::current_exception())) return std::nullopt;
    for (PreprocessJob& job : jobs) job.error = std::current_exception();
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    errors[slot_of_job[i]] = jobs[i].error;
    running_[slot_of_job[i]].patches = {jobs[i].patches};
  }
  for (size_t i = 0; i < count; ++i) running_[i].frame = Frame{};
  return drop_unusable(errors);
}

bool Batcher::runs_in_halves(const char* what, size_t requests, const std::exception_ptr& error) {
  const Failure failure = describe_failure(error);
  if (failure.kind != ErrorKind::kOutOfMemory || requests < 2) return false;
  log(LogLevel::kWarning, std::string(what) + " of " + std::to_string(requests) +
                              " requests runs in halves: " + failure.text);
  memory_.refuse(requests, Clock::now());
  return true;
}

size_t Batcher::drop_unusable(const std::vector<std::exception_ptr>& errors) {
  SettledList list;
  std::vector<Slot> dropped;
  size_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < errors.size(); ++i) {
      const auto& task = running_[i].task;
      --task->reading;
      if (errors[i] && !task->cancel) settle(task, Outcome::kFailed, errors[i], list);
    }
    for (size_t i = 0; i < errors.size(); ++i) {
      const auto& task = running_[i].task;
      if (!task->settled && !task->cancel) ++left;
    }
    dropped = take_settled(list);
  }
  let_go(std::move(dropped));
  carry_out(list);
  return left;
}

std::vector<Slot> Batcher::take_settled(SettledList& list) {
  for (const Slot& slot : running_) {
    if (slot.task->cancel) settle(slot.task, Outcome::kCancelled, nullptr, list);
  }
  const auto first = std::stable_partition(running_.begin(), running_.end(),
                                           [](const Slot& slot) { return !slot.task->settled; });
  std::vector<Slot> taken(std::make_move_iterator(first), std::make_move_iterator(running_.end()));
  running_.erase(first, running_.end());
  for (const Slot& slot : taken) --slot.task->stream->running;
  return taken;
}

void Batcher::let_go(std::vector<Slot> slots) {
  for (Slot& slot : slots) {
    slot.frame = Frame{};
    slot.task->stream->changed.notify_all();
  }
}

void Batcher::forward(const BatchKey& key, size_t begin, size_t end, double preprocess_ms,
                      TimePoint begun, std::vector<std::exception_ptr>& errors) {
  try {
    BatchInput input;
    input.batch = static_cast<int64_t>(end - begin);
    input.frames_per_request = static_cast<int64_t>(running_[begin].patches.size());
    input.r = key.r;
    input.prop_attn = key.prop_attn;
    input.static_threshold = key.static_threshold;
    for (size_t i = begin; i < end; ++i) {
      input.frames.insert(input.frames.end(), running_[i].patches.begin(),
                          running_[i].patches.end());
    }
    const TimePoint forward_started = Clock::now();
    const BatchOutput output = session_->forward(input);
    keep_results(output, begin, end, preprocess_ms, milliseconds(Clock::now() - forward_started),
                 begun);
  } catch (...) {
    const std::exception_ptr error = std::current_exception();
    if (runs_in_halves("a forward", end - begin, error)) {
      const size_t middle = begin + (end - begin) / 2;
      forward(key, begin, middle, preprocess_ms, begun, errors);
      forward(key, middle, end, preprocess_ms, begun, errors);
      return;
    }
    std::fill(errors.begin() + static_cast<std::ptrdiff_t>(begin),
              errors.begin() + static_cast<std::ptrdiff_t>(end), error);
  }
}

void Batcher::keep_results(const BatchOutput& output, size_t begin, size_t end,
                           double preprocess_ms, double inference_ms, TimePoint begun) {
  const auto classes = static_cast<size_t>(output.classes);
  if (output.logits.size() != classes * (end - begin) || output.tokens_out.size() != end - begin) {
    throw Error(ErrorKind::kFailed, "the session returned " + std::to_string(output.logits.size()) +
                                        " logits of " + std::to_string(output.tokens_out.size()) +
                                        " requests, expected " +
                                        std::to_string(classes * (end - begin)));
  }
  for (size_t i = begin; i < end; ++i) {
    Task& task = *running_[i].task;
    Classification& result = task.results[running_[i].index];
    const std::span<const float> logits(output.logits.data() + (i - begin) * classes, classes);
    result.scores =
        task.stream->scorer.score(logits, task.generation, task.full_frame, task.limits);
    result.tokens_in = output.tokens_in;
    result.tokens_out = output.tokens_out[i - begin];
    result.batch = static_cast<uint32_t>(end - begin);
    result.queue_ms = milliseconds(begun - task.enqueued);
    // A clip was pre-processed when its frames came, and says itself how long that took.
    if (task.clip.empty()) result.preprocess_ms = preprocess_ms;
    result.inference_ms = inference_ms;
  }
}

void Batcher::settle_part(const std::vector<std::exception_ptr>& errors) {
  SettledList list;
  std::vector<Slot> finished, dropped;
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < errors.size(); ++i) {
      const auto& task = running_[i].task;
      --task->stream->running;
      if (errors[i]) {
        settle(task, Outcome::kFailed, errors[i], list);
      } else if (++task->done == task->regions.size()) {
        settle(task, Outcome::kResult, nullptr, list);
      }
    }
    const auto end = running_.begin() + static_cast<std::ptrdiff_t>(errors.size());
    finished.assign(std::make_move_iterator(running_.begin()), std::make_move_iterator(end));
    running_.erase(running_.begin(), end);
    dropped = take_settled(list);
  }
  let_go(std::move(finished));
  let_go(std::move(dropped));
  carry_out(list);
}

}  // namespace tome
