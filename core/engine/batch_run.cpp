// The worker's way through one batch: pixels, forward, results.
#include <algorithm>
#include <utility>

#include "engine/batcher.h"
#include "engine/failure.h"
#include "engine/log.h"

namespace tome {

void Batcher::run_batch(const BatchKey& key) {
  const TimePoint started = Clock::now();
  const double preprocess_ms = preprocess();
  const size_t requests = running_.size();
  std::vector<std::exception_ptr> errors(requests);
  if (requests > 0) {
    forward_all(key, preprocess_ms, started, errors);
  } else {
    session_->finish_reading();
  }
  const bool failed = std::any_of(errors.begin(), errors.end(),
                                  [](const std::exception_ptr& error) { return error != nullptr; });
  if (requests > 0 && !failed) batch_duration_.learn(requests, Clock::now() - started);
  SettledList list = settle_batch(errors);
  carry_out(list);
}

double Batcher::preprocess() {
  const TimePoint started = Clock::now();
  std::vector<PreprocessJob> jobs;
  std::vector<size_t> slot_of_job;
  for (size_t i = 0; i < running_.size(); ++i) {
    if (!running_[i].patches.empty()) continue;
    jobs.push_back({&running_[i].frame, nullptr, nullptr});
    slot_of_job.push_back(i);
  }
  std::vector<std::exception_ptr> errors(running_.size());
  try {
    if (!jobs.empty()) session_->preprocess(jobs);
  } catch (...) {
    for (PreprocessJob& job : jobs) job.error = std::current_exception();
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    errors[slot_of_job[i]] = jobs[i].error;
    running_[slot_of_job[i]].patches = {jobs[i].patches};
  }
  for (Slot& slot : running_) slot.frame = Frame{};
  SettledList list = drop_unusable(errors);
  carry_out(list);
  return milliseconds(Clock::now() - started);
}

Batcher::SettledList Batcher::drop_unusable(const std::vector<std::exception_ptr>& errors) {
  SettledList list;
  std::vector<std::shared_ptr<StreamQueue>> idle;
  {
    const std::lock_guard lock(mutex_);
    for (const Slot& slot : running_) --slot.task->reading;
    for (size_t i = 0; i < running_.size(); ++i) {
      const auto& task = running_[i].task;
      if (task->cancel) settle(task, Outcome::kCancelled, nullptr, list);
      if (errors[i]) settle(task, Outcome::kFailed, errors[i], list);
    }
    std::erase_if(running_, [&idle](const Slot& slot) {
      if (!slot.task->settled) return false;
      if (--slot.task->stream->running == 0) idle.push_back(slot.task->stream);
      return true;
    });
  }
  for (const auto& stream : idle) stream->changed.notify_all();
  return list;
}

void Batcher::forward_all(const BatchKey& key, double preprocess_ms, TimePoint started,
                          std::vector<std::exception_ptr>& errors) {
  for (size_t begin = 0, end = 0; begin < running_.size(); begin = end) {
    end = std::min(running_.size(), begin + memory_.most(Clock::now()));
    forward(key, begin, end, preprocess_ms, started, errors);
  }
}

void Batcher::forward(const BatchKey& key, size_t begin, size_t end, double preprocess_ms,
                      TimePoint started, std::vector<std::exception_ptr>& errors) {
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
                 started);
  } catch (...) {
    const std::exception_ptr error = std::current_exception();
    const Failure failure = describe_failure(error);
    if (failure.kind == ErrorKind::kOutOfMemory && end - begin > 1) {
      log(LogLevel::kWarning, "a forward of " + std::to_string(end - begin) +
                                  " requests runs in halves: " + failure.text);
      memory_.refuse(end - begin, Clock::now());
      const size_t middle = begin + (end - begin) / 2;
      forward(key, begin, middle, preprocess_ms, started, errors);
      forward(key, middle, end, preprocess_ms, started, errors);
      return;
    }
    std::fill(errors.begin() + static_cast<std::ptrdiff_t>(begin),
              errors.begin() + static_cast<std::ptrdiff_t>(end), error);
  }
}

void Batcher::keep_results(const BatchOutput& output, size_t begin, size_t end,
                           double preprocess_ms, double inference_ms, TimePoint started) {
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
    result.scores = task.stream->scorer.score(logits, task.generation, task.full_frame);
    result.tokens_in = output.tokens_in;
    result.tokens_out = output.tokens_out[i - begin];
    result.batch = static_cast<uint32_t>(end - begin);
    result.queue_ms = milliseconds(started - task.enqueued);
    // A clip was pre-processed when its frames came, and says itself how long that took.
    if (task.clip.empty()) result.preprocess_ms = preprocess_ms;
    result.inference_ms = inference_ms;
  }
}

Batcher::SettledList Batcher::settle_batch(const std::vector<std::exception_ptr>& errors) {
  SettledList list;
  std::vector<Slot> finished;
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < running_.size(); ++i) {
      const auto& task = running_[i].task;
      --task->stream->running;
      if (errors[i]) {
        settle(task, Outcome::kFailed, errors[i], list);
      } else if (++task->done == task->regions.size()) {
        settle(task, Outcome::kResult, nullptr, list);
      }
    }
    finished.swap(running_);
  }
  for (const Slot& slot : finished) slot.task->stream->changed.notify_all();
  return list;
}

}  // namespace tome
