#undef _FORTIFY_SOURCE  // its longjmp check takes a jump between stacks for an attack
#include "cuda/executor/host_executor.h"

#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "cuda/executor/host_block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tome::cuda {

FiberStacks::Memory& FiberStacks::spare() {
  thread_local Memory memory;
  return memory;
}

FiberStacks::FiberStacks(int threads) : memory_(std::move(spare())) {
  const size_t bytes = kDistance * static_cast<size_t>(threads);
  if (memory_ == nullptr || memory_.get_deleter().bytes < bytes) {
    void* fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) throw std::bad_alloc();
    memory_ = Memory(static_cast<unsigned char*>(fresh), Unmap{bytes});
  }
#if defined(__SANITIZE_ADDRESS__)
  // Threads that an error ended have left their frames' marks.
  ASAN_UNPOISON_MEMORY_REGION(memory_.get(), memory_.get_deleter().bytes);
#endif
}

FiberStacks::~FiberStacks() { spare() = std::move(memory_); }

HostBlock::HostBlock(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                     ThreadOrder order)
    : shape_(shape), body_(body), order_(order), stacks_(shape.threads), fibers_(shape.threads) {
  warps_.resize(shape.threads / kWarpSize);
  reads_.resize(warps_.size());
  for (Meeting& warp : warps_) warp.arguments.resize(kWarpSize);
  all_.arguments.resize(shape.threads);
  for (int i = 0; i < shape.threads; ++i) fibers_[i].stack = stacks_.of(i);
  const size_t bytes = (static_cast<size_t>(shape.shared_bytes) / 1024 + 1) * 1024 + kGuardBytes;
  shared_.reset(std::aligned_alloc(1024, bytes));
  if (shared_ == nullptr) throw std::bad_alloc();
#if defined(__SANITIZE_ADDRESS__)
  const auto used = static_cast<size_t>(shape.shared_bytes);
  ASAN_POISON_MEMORY_REGION(shared() + used, bytes - used);
#else
  memset(shared() + shape.shared_bytes, kGuard, kGuardBytes);
#endif
}

/// @throws std::logic_error if the block wrote behind its shared memory
void HostBlock::check_guard() const {
#if !defined(__SANITIZE_ADDRESS__)  // which has seen it itself
  const auto* guard = static_cast<const unsigned char*>(shared_.get()) + shape_.shared_bytes;
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (guard[i] == kGuard) continue;
    throw std::logic_error("a block of " + std::to_string(shape_.shared_bytes) +
                           " bytes of shared memory writes " + std::to_string(i) +
                           " bytes behind them");
  }
#endif
}

void HostBlock::enter(unsigned low, unsigned high, unsigned thread) {
  const uint64_t address = (static_cast<uint64_t>(high) << 32) | low;
  reinterpret_cast<HostBlock*>(address)->thread_main(static_cast<int>(thread));
}

void HostBlock::thread_main(int thread) {
  Fiber& fiber = fibers_[thread];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
  try {
    HostContext context(this, thread);
    body_(context);
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
  }
  fiber.done = true;
  --remaining_;
  leave(fiber);
}

#if defined(__SANITIZE_ADDRESS__)
void HostBlock::leave(Fiber& fiber) {
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fake_stack, scheduler_stack_,
                                 scheduler_stack_bytes_);
  swapcontext(&fiber.context, &scheduler_context_);
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
}
#else
void HostBlock::leave(Fiber& fiber) {
  if (_setjmp(fiber.jump) == 0) _longjmp(scheduler_jump_, 1);
}
#endif

/// Lets a thread run until it waits or ends. @return whether it could run
bool HostBlock::resume(int thread) {
  Fiber& fiber = fibers_[thread];
  if (fiber.done) return false;
  if (fiber.waits_at != nullptr && fiber.waits_at->round == fiber.waits_for_round) return false;
  fiber.waits_at = nullptr;
  const bool first = !fiber.started;
  if (first) {
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    const auto address = reinterpret_cast<uint64_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(&HostBlock::enter), 3,
                static_cast<unsigned>(address), static_cast<unsigned>(address >> 32),
                static_cast<unsigned>(thread));
  }
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack, kStackBytes);
  swapcontext(&scheduler_context_, &fiber.context);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
  if (_setjmp(scheduler_jump_) == 0) {
    if (first) {
      setcontext(&fiber.context);
    } else {
      _longjmp(fiber.jump, 1);
    }
  }
#endif
  if (failure_) std::rethrow_exception(failure_);
  return true;
}

/// Threads of one warp are resumed in turn for as long as any of them gets on.
bool HostBlock::resume_warp(int warp) {
  bool any = false;
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < kWarpSize; ++i) {
      const int lane = order_ == ThreadOrder::kForwards ? i : kWarpSize - 1 - i;
      again = resume(warp * kWarpSize + lane) || again;
    }
    any = any || again;
  }
  return any;
}

void HostBlock::clear() {
  memset(shared(), 0xff, static_cast<size_t>(shape_.shared_bytes));
  vectors_.assign(static_cast<size_t>(shape_.shared_bytes) / sizeof(Bytes16), {});
  fenced_.clear();
  for (auto& reads : reads_) reads.clear();
  group_products_.assign(warps_.size(), 0);
  for (Fiber& fiber : fibers_) {
    fiber.started = fiber.done = false;
    fiber.waits_at = nullptr;
    fiber.copies.assign(1, {});
    fiber.unfenced.clear();
    fiber.products.clear();
    fiber.fenced.clear();
    fiber.product_groups = 0;
  }
}

void HostBlock::run(Extent place) {
  place_ = place;
  remaining_ = shape_.threads;
  clear();
  const int warps = static_cast<int>(warps_.size());
  while (remaining_ > 0) {
    bool any = false;
    for (int i = 0; i < warps; ++i) {
      any = resume_warp(order_ == ThreadOrder::kForwards ? i : warps - 1 - i) || any;
    }
    if (!any) report_stuck();
  }
  check_warpgroups();
  check_guard();
}

void HostBlock::report_stuck() const {
  std::string text = "threads wait for partners that never come:";
  for (size_t i = 0; i < fibers_.size(); ++i) {
    const Fiber& fiber = fibers_[i];
    if (i % kWarpSize != 0 && i != fibers_.size() - 1) continue;
    text += " thread " + std::to_string(i) + " " +
            (fiber.done ? "has ended" : std::string("is at ") + fiber.waits_at->name) + ";";
  }
  throw std::logic_error(text);
}

void HostBlock::meet(int thread, Meeting& meeting, int slot, const char* name, void* mine,
                     void (*operation)(void* const*)) {
  if (meeting.arrived == 0) meeting.name = name;
  if (std::string_view(meeting.name) != name) {
    throw std::logic_error(std::string("threads meet at ") + meeting.name + " and at " + name);
  }
  meeting.arguments[slot] = mine;
  if (++meeting.arrived == static_cast<int>(meeting.arguments.size())) {
    operation(meeting.arguments.data());
    meeting.arrived = 0;
    ++meeting.round;
    return;
  }
  Fiber& fiber = fibers_[thread];
  fiber.waits_at = &meeting;
  fiber.waits_for_round = meeting.round;
  leave(fiber);
}

int HostContext::threads() const { return block_->shape().threads; }
int HostContext::block_x() const { return block_->place().x; }
int HostContext::block_y() const { return block_->place().y; }
int HostContext::block_z() const { return block_->place().z; }
int HostContext::grid_x() const { return block_->shape().grid.x; }
unsigned char* HostContext::shared_bytes() const { return block_->shared(); }

void HostContext::warp_operation(const char* name, void* mine, Operation operation) const {
  block_->meet(thread_, block_->warp_of(thread_), lane(), name, mine, operation);
}

void HostContext::sync_warp() const {
  warp_operation("sync_warp", nullptr, [](void* const*) {});
}

void HostContext::sync_block() const {
  block_->meet(thread_, block_->all(), thread_, "sync_block", nullptr, [](void* const*) {});
}

// Of a block, what its first thread says: its threads say it together.
void HostContext::launch_dependents() const {
  if (thread_ == 0) ++block_->said().launched;
}
void HostContext::wait_for_prerequisites() const {
  if (thread_ == 0) ++block_->said().waited;
}

bool HostContext::arrive_last(unsigned* counter, unsigned expected) const {
  struct Arrival {
    unsigned* counter;
    unsigned expected;
    int threads;
    bool last;
  } mine{counter, expected, threads(), false};
  block_->meet(thread_, block_->all(), thread_, "arrive_last", &mine, [](void* const* all) {
    const auto* first = static_cast<const Arrival*>(all[0]);
    const bool last = ++*first->counter == first->expected;
    if (last) *first->counter = 0;
    for (int i = first->threads - 1; i >= 0; --i) static_cast<Arrival*>(all[i])->last = last;
  });
  return mine.last;
}

void HostContext::copy_async16(void* to_shared, const void* from_global, bool valid) const {
  if (!is_aligned16(to_shared) || (valid && !is_aligned16(from_global))) {
    throw std::logic_error("copy_async16 of an address that is not 16-byte aligned");
  }
  block_->begin_copy(thread_, {to_shared, from_global, valid});
}

void HostContext::copy_commit() const { block_->fiber(thread_).copies.emplace_back(); }

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

void HostBlock::begin_copy(int thread, const PendingCopy& copy) {
  VectorState& state = state_of(copy.to);
  if (state.kind == VectorState::kInFlight) {
    throw std::logic_error("copy_async16 to where another copy is on its way");
  }
  state = {VectorState::kInFlight, static_cast<int16_t>(thread)};
  fibers_[thread].copies.back().push_back(copy);
  if (order_ == ThreadOrder::kBackwards) land(copy);
}

void HostBlock::wait_for_copies(int thread, int pending) {
  Fiber& fiber = fibers_[thread];
  while (static_cast<int>(fiber.copies.size()) - 1 > pending) {
    for (const PendingCopy& copy : fiber.copies.front()) {
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

namespace {

void check_shape(const LaunchShape& shape) {
  if (shape.threads < 1 || shape.threads > 1024 || shape.threads % kWarpSize != 0) {
    throw std::logic_error("a block of " + std::to_string(shape.threads) +
                           " threads; a multiple of 32 up to 1024 is needed");
  }
  const Extent& grid = shape.grid;
  if (grid.x < 1 || grid.y < 1 || grid.y > 65535 || grid.z < 1 || grid.z > 65535) {
    throw std::logic_error("a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) +
                           " x " + std::to_string(grid.z) +
                           " blocks; x from 1, y and z from 1 to 65535 are needed");
  }
  if (shape.shared_bytes < 0 || shape.shared_bytes > kMostSharedBytes) {
    throw std::logic_error(std::to_string(shape.shared_bytes) +
                           " bytes of shared memory; every GPU has " +
                           std::to_string(kMostSharedBytes));
  }
}

}  // namespace

SaidByBlocks launch_on_host(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                            ThreadOrder order) {
  check_shape(shape);
  HostBlock block(shape, body, order);
  const int64_t blocks = static_cast<int64_t>(shape.grid.x) * shape.grid.y * shape.grid.z;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t at = order == ThreadOrder::kForwards ? i : blocks - 1 - i;
    block.run({static_cast<int>(at % shape.grid.x),
               static_cast<int>(at / shape.grid.x % shape.grid.y),
               static_cast<int>(at / shape.grid.x / shape.grid.y)});
  }
  block.said().blocks = blocks;
  return block.said();
}

}  // namespace tome::cuda
