#include "engine/batch_policy.h"

#include <algorithm>
#include <utility>

namespace tome {
namespace {

bool same_key(const BatchKey* a, const BatchKey* b) { return a == b || *a == *b; }

bool may_add(const StreamQueue& stream, uint64_t batch_number) {
  return stream.open && !stream.ended && stream.has_room() && stream.last_active &&
         *stream.last_active + 2 >= batch_number;
}

bool any(const Task&) { return true; }
bool has_deadline(const Task& task) { return task.deadline.has_value(); }

/// Requests of `stream` that wait for a batch of `key`, of the tasks that `counts` is true of.
size_t waiting(const StreamQueue& stream, const BatchKey& key, bool (*counts)(const Task&) = any) {
  if (!same_key(stream.key.get(), &key)) return 0;
  size_t requests = 0;
  for (const auto& task : stream.tasks) requests += counts(*task) ? task->untaken() : 0;
  return requests;
}

}  // namespace

void BatchPolicy::remove(const std::shared_ptr<StreamQueue>& stream) {
  const auto found = std::find(round_.begin(), round_.end(), stream);
  if (found == round_.end()) return;
  if (static_cast<size_t>(found - round_.begin()) < first_) --first_;
  round_.erase(found);
  if (first_ >= round_.size()) first_ = 0;
}

BatchPolicy::Decision BatchPolicy::decide(TimePoint now, uint64_t batch_number,
                                          Clock::duration duration) const {
  Decision decision;
  std::vector<const BatchKey*> seen;
  for (size_t i = 0; i < round_.size(); ++i) {
    const StreamQueue& stream = *round_[(first_ + i) % round_.size()];
    const BatchKey* key = stream.key.get();
    if (stream.tasks.empty() || std::any_of(seen.begin(), seen.end(), [key](const BatchKey* other) {
          return same_key(key, other);
        })) {
      continue;
    }
    seen.push_back(key);
    const TimePoint start = start_time(*key, batch_number, duration);
    if (start <= now) {
      decision.key = stream.key;
      return decision;
    }
    decision.wake = std::min(decision.wake, start);
  }
  return decision;
}

TimePoint BatchPolicy::start_time(const BatchKey& key, uint64_t batch_number,
                                  Clock::duration duration) const {
  size_t requests = 0;
  bool more_may_come = false;
  TimePoint start = TimePoint::max();
  for (const auto& stream : round_) {
    if (!same_key(stream->key.get(), &key)) continue;
    if (stream->hurried && !stream->tasks.empty()) return TimePoint::min();
    more_may_come = more_may_come || may_add(*stream, batch_number);
    for (const auto& task : stream->tasks) {
      requests += task->untaken();
      if (requests >= limits_.batch_size) return TimePoint::min();
      start = std::min(start, task->enqueued + limits_.timeout);
      if (task->deadline) start = std::min(start, *task->deadline - duration);
    }
  }
  return more_may_come ? start : TimePoint::min();
}

std::vector<Slot> BatchPolicy::take(const BatchKey& key) {
  std::vector<Slot> slots;
  size_t passed_over = 0;
  while (slots.size() < limits_.batch_size && passed_over < round_.size()) {
    StreamQueue& stream = *round_[first_];
    first_ = (first_ + 1) % round_.size();
    if (stream.tasks.empty() || !same_key(stream.key.get(), &key)) {
      ++passed_over;
      continue;
    }
    passed_over = 0;
    slots.push_back(take_one(stream));
  }
  return slots;
}

Slot BatchPolicy::take_one(StreamQueue& stream) {
  const std::shared_ptr<Task> task = stream.tasks.front();
  Slot slot{task, task->taken++, {}, task->clip};
  if (task->untaken() == 0) {
    slot.frame = std::move(task->frame);
    task->frame = Frame{};
    stream.tasks.pop_front();
  } else {
    slot.frame = task->frame;
  }
  slot.frame.region = task->regions[slot.index];
  ++task->reading;
  ++stream.running;
  return slot;
}

size_t BatchPolicy::round_length() const {
  std::vector<std::pair<const BatchKey*, size_t>> streams;  // of each key
  for (const auto& stream : round_) {
    const BatchKey* key = stream->key.get();
    auto found = std::find_if(streams.begin(), streams.end(),
                              [key](const auto& entry) { return same_key(entry.first, key); });
    if (found == streams.end()) found = streams.insert(streams.end(), {key, 0});
    ++found->second;
  }
  size_t batches = 0;
  for (const auto& [key, count] : streams) {
    batches += (count + limits_.batch_size - 1) / limits_.batch_size;
  }
  return std::max<size_t>(batches, 1);
}

/// In the batches of `key` that serve each stream that waits for one once.
size_t BatchPolicy::places(const BatchKey& key) const {
  size_t streams = 0;
  for (const auto& stream : round_) streams += waiting(*stream, key) > 0 ? 1 : 0;
  const size_t batches = (streams + limits_.batch_size - 1) / limits_.batch_size;
  return std::max<size_t>(batches, 1) * limits_.batch_size;
}

/// How many requests of each stream these batches take.
std::vector<size_t> BatchPolicy::shares(const BatchKey& key) const {
  std::vector<size_t> left;
  size_t all = 0;
  for (const auto& stream : round_) all += left.emplace_back(waiting(*stream, key));
  std::vector<size_t> share(round_.size(), 0);
  size_t free = std::min(all, places(key));
  for (size_t i = first_; free > 0; i = (i + 1) % round_.size()) {
    if (left[i] == 0) continue;
    --left[i];
    ++share[i];
    --free;
  }
  return share;
}

/// What was noted of the batch before.
bool BatchPolicy::note_crowded(const BatchKey& key, bool crowded) {
  const bool before = std::erase(crowded_, key) > 0;
  std::erase_if(crowded_, [this](const BatchKey& other) {  // of schedules that are gone
    return std::none_of(round_.begin(), round_.end(),
                        [&](const auto& stream) { return same_key(stream->key.get(), &other); });
  });
  if (crowded) crowded_.push_back(key);
  return before;
}

std::vector<std::shared_ptr<Task>> BatchPolicy::take_surplus(const BatchKey& key) {
  size_t urgent = 0;
  for (const auto& stream : round_) urgent += waiting(*stream, key, has_deadline);
  const bool crowded = urgent > places(key);
  const bool crowded_before = note_crowded(key, crowded);
  std::vector<std::shared_ptr<Task>> surplus;
  if (!crowded_before || !crowded) return surplus;
  const std::vector<size_t> share = shares(key);
  for (size_t i = 0; i < round_.size(); ++i) {
    size_t left = waiting(*round_[i], key);
    if (left <= share[i]) continue;
    std::erase_if(round_[i]->tasks, [&](const std::shared_ptr<Task>& task) {
      if (task->taken > 0 || !task->deadline || left - task->untaken() < share[i]) return false;
      left -= task->untaken();
      surplus.push_back(task);
      return true;
    });
  }
  return surplus;
}

std::vector<std::shared_ptr<Task>> BatchPolicy::take_expired(TimePoint when) {
  std::vector<std::shared_ptr<Task>> expired;
  for (const auto& stream : round_) {
    std::erase_if(stream->tasks, [&](const std::shared_ptr<Task>& task) {
      if (task->taken > 0 || !task->deadline || *task->deadline > when) return false;
      expired.push_back(task);
      return true;
    });
  }
  return expired;
}

}  // namespace tome
