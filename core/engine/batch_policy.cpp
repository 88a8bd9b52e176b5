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

/// Streams that have something queued, of one key or of all; those served longest ago first.
std::vector<StreamQueue*> BatchPolicy::in_turn(const BatchKey* key) const {
  std::vector<StreamQueue*> waiting;
  for (const auto& stream : streams_) {
    if (stream->tasks.empty() || (key != nullptr && !same_key(stream->key.get(), key))) continue;
    waiting.push_back(stream.get());
  }
  std::stable_sort(waiting.begin(), waiting.end(), [](const StreamQueue* a, const StreamQueue* b) {
    return a->served < b->served;
  });
  return waiting;
}

BatchPolicy::Decision BatchPolicy::decide(TimePoint now, uint64_t batch_number,
                                          Clock::duration duration) const {
  Decision decision;
  std::vector<const BatchKey*> seen;
  for (const StreamQueue* stream : in_turn()) {
    const BatchKey* key = stream->key.get();
    if (std::any_of(seen.begin(), seen.end(),
                    [key](const BatchKey* other) { return same_key(key, other); })) {
      continue;
    }
    seen.push_back(key);
    const TimePoint start = start_time(*key, batch_number, duration);
    if (start <= now) {
      decision.key = stream->key;
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
  for (const auto& stream : streams_) {
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
  std::vector<StreamQueue*> turn = in_turn(&key);
  while (!turn.empty() && slots.size() < limits_.batch_size) {
    for (StreamQueue* stream : turn) {
      if (slots.size() == limits_.batch_size) break;
      slots.push_back(take_one(*stream));
      stream->served = ++served_;
    }
    std::erase_if(turn, [](const StreamQueue* stream) { return stream->tasks.empty(); });
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

size_t BatchPolicy::batches_for(size_t requests) const {
  return std::max<size_t>((requests + limits_.batch_size - 1) / limits_.batch_size, 1);
}

size_t BatchPolicy::round_length() const {
  std::vector<std::pair<const BatchKey*, size_t>> streams;  // of each key
  for (const auto& stream : streams_) {
    if (stream->ended && stream->tasks.empty()) continue;
    const BatchKey* key = stream->key.get();
    auto found = std::find_if(streams.begin(), streams.end(),
                              [key](const auto& entry) { return same_key(entry.first, key); });
    if (found == streams.end()) found = streams.insert(streams.end(), {key, 0});
    ++found->second;
  }
  size_t batches = 0;
  for (const auto& [key, count] : streams) batches += batches_for(count);
  return std::max<size_t>(batches, 1);
}

/// In the batches of `key` that serve each stream that waits for one once.
size_t BatchPolicy::places(const BatchKey& key) const {
  return batches_for(in_turn(&key).size()) * limits_.batch_size;
}

/// How many requests of each stream that waits these batches take.
std::map<const StreamQueue*, size_t> BatchPolicy::shares(const BatchKey& key) const {
  std::map<const StreamQueue*, size_t> share;
  std::vector<StreamQueue*> turn = in_turn(&key);
  size_t free = places(key);
  while (!turn.empty() && free > 0) {
    std::erase_if(
        turn, [&](const StreamQueue* stream) { return share[stream] == waiting(*stream, key); });
    for (const StreamQueue* stream : turn) {
      if (free == 0) break;
      ++share[stream];
      --free;
    }
  }
  return share;
}

/// What was noted of the batch before.
bool BatchPolicy::note_crowded(const BatchKey& key, bool crowded) {
  const bool before = std::erase(crowded_, key) > 0;
  std::erase_if(crowded_, [this](const BatchKey& other) {  // of schedules that are gone
    return std::none_of(streams_.begin(), streams_.end(),
                        [&](const auto& stream) { return same_key(stream->key.get(), &other); });
  });
  if (crowded) crowded_.push_back(key);
  return before;
}

std::vector<std::shared_ptr<Task>> BatchPolicy::take_surplus(const BatchKey& key) {
  size_t urgent = 0;
  for (const auto& stream : streams_) urgent += waiting(*stream, key, has_deadline);
  const bool crowded = urgent > places(key);
  const bool crowded_before = note_crowded(key, crowded);
  std::vector<std::shared_ptr<Task>> surplus;
  if (!crowded_before || !crowded) return surplus;
  const auto share_of = shares(key);
  for (const auto& stream : streams_) {
    const auto found = share_of.find(stream.get());
    if (found == share_of.end()) continue;
    const size_t share = found->second;
    size_t left = waiting(*stream, key);
    if (left <= share) continue;
    std::erase_if(stream->tasks, [&](const std::shared_ptr<Task>& task) {
      if (task->taken > 0 || !task->deadline || left - task->untaken() < share) return false;
      left -= task->untaken();
      surplus.push_back(task);
      return true;
    });
  }
  return surplus;
}

std::vector<std::shared_ptr<Task>> BatchPolicy::take_expired(TimePoint when) {
  std::vector<std::shared_ptr<Task>> expired;
  for (const auto& stream : streams_) {
    std::erase_if(stream->tasks, [&](const std::shared_ptr<Task>& task) {
      if (task->taken > 0 || !task->deadline || *task->deadline > when) return false;
      expired.push_back(task);
      return true;
    });
  }
  return expired;
}

}  // namespace tome
