// Memory operations of the host executor: what blocks hand to the last one, and asynchronous
// copies.
#include <cstring>
#include <stdexcept>

#include "cuda/executor/host_block.h"

namespace tome::cuda {

bool HostContext::arrive_last(unsigned* counter, unsigned expected) const {
  struct Arrival {
    HostBlock* block;
    unsigned* counter;
    unsigned expected;
    int threads;
    bool last;
  } mine{block_, counter, expected, threads(), false};
  block_->meet(
      thread_, block_->all(), thread_, "arrive_last", &mine,
      [](void* const* all) {
        const auto* first = static_cast<const Arrival*>(all[0]);
        races::leave_at(first->counter);
        const bool last = ++*first->counter == first->expected;
        if (last) *first->counter = 0;
        if (last) first->block->see_others(first->counter);
        for (int i = first->threads - 1; i >= 0; --i) static_cast<Arrival*>(all[i])->last = last;
      },
      Orders::kMemory);
  return mine.last;
}

void HostContext::load_fresh(void* to, const void* from, size_t bytes) const {
  block_->load_fresh(thread_, to, from, bytes, TOME_CALLER);
}

void HostContext::copy_async16(void* to_shared, const void* from_global, bool valid) const {
  if (!is_aligned16(to_shared) || (valid && !is_aligned16(from_global))) {
    throw std::logic_error("copy_async16 of an address that is not 16-byte aligned");
  }
  block_->begin_copy(thread_, {to_shared, from_global, valid}, TOME_CALLER);
}

void HostContext::copy_commit() const { block_->commit_copies(thread_); }

void HostContext::copy_wait(int pending) const { block_->wait_for_copies(thread_, pending); }

namespace {

void land(const PendingCopy& copy) {
  if (copy.valid) {
    memcpy(copy.to, copy.from, sizeof(Bytes16));
  } else {
    memset(copy.to, 0, sizeof(Bytes16));
  }
}

}  // namespace

VectorState& HostBlock::state_of(const void* at) {
  const auto vector = (reinterpret_cast<uintptr_t>(at) - reinterpret_cast<uintptr_t>(shared())) /
                      sizeof(Bytes16);  // huge if `at` lies before it
  if (vector >= vectors_.size()) throw std::logic_error("an address outside shared memory");
  return vectors_[vector];
}

void HostBlock::see_others(void* counter) {
  if constexpr (races::kWatched) races::take_at(counter, begun(fresh_));
}

void HostBlock::load_fresh(int thread, void* to, const void* from, size_t bytes, void* caller) {
  const races::Unwatched unwatched;
  if constexpr (races::kWatched) {
    races::leave_at(fibers_[thread].word.at());
    races::take_at(fibers_[thread].word.at(), begun(fresh_));
    races::reads(from, bytes, caller, fresh_);
  }
  memcpy(to, from, bytes);
}

void HostBlock::watch_copy(Fiber& fiber, const PendingCopy& copy, void* caller) {
  races::leave_at(fiber.word.at());
  races::take_at(fiber.word.at(), begun(fiber.copier));
  if (copy.valid) races::reads(copy.from, sizeof(Bytes16), caller, fiber.copier);
  races::writes(copy.to, sizeof(Bytes16), caller, fiber.copier);
}

void HostBlock::begin_copy(int thread, const PendingCopy& copy, void* caller) {
  const races::Unwatched unwatched;
  VectorState& state = state_of(copy.to);
  if (state.kind == VectorState::kInFlight) {
    throw std::logic_error("copy_async16 to where another copy is on its way");
  }
  state = {VectorState::kInFlight, static_cast<int16_t>(thread)};
  fibers_[thread].copies.back().copies.push_back(copy);
  if constexpr (races::kWatched) watch_copy(fibers_[thread], copy, caller);
  if (order_ == ThreadOrder::kBackwards) land(copy);
}

void HostBlock::commit_copies(int thread) {
  const races::Unwatched unwatched;
  Fiber& fiber = fibers_[thread];
  if (fiber.copier.fiber != nullptr) {
    races::leave_at(fiber.copies.back().landed.at(), fiber.copier);
  }
  fiber.copies.emplace_back();
}

void HostBlock::wait_for_copies(int thread, int pending) {
  const races::Unwatched unwatched;
  Fiber& fiber = fibers_[thread];
  while (static_cast<int>(fiber.copies.size()) - 1 > pending) {
    races::take_at(fiber.copies.front().landed.at());
    for (const PendingCopy& copy : fiber.copies.front().copies) {
      if (order_ == ThreadOrder::kForwards) land(copy);
      state_of(copy.to).kind = VectorState::kUnfenced;
      fiber.unfenced.push_back(copy.to);
    }
    fiber.copies.erase(fiber.copies.begin());
  }
}

void HostBlock::check_landed(const void* at) {
  if (state_of(at).kind == VectorState::kInFlight) {
    throw std::logic_error("load_matrix of what a copy is still to write");
  }
}

}  // namespace tome::cuda
