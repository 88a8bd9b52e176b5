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
                     ThreadOrder order, SaidByBlocks& said)
    : shape_(shape),
      body_(body),
      order_(order),
      said_(said),
      stacks_(shape.threads),
      fibers_(shape.threads) {
  warps_.resize(shape.threads / kWarpSize);
  reads_.resize(warps_.size());
  for (Meeting& warp : warps_) warp.arguments.resize(kWarpSize);
  all_.arguments.resize(shape.threads);
  product_lines_.resize(warps_.size());
  for (int i = 0; i < shape.threads; ++i) {
    fibers_[i].stack = stacks_.of(i);
    if constexpr (races::kWatched) {
      fibers_[i].line = races::take_line(kStackBytes);
      fibers_[i].stack = fibers_[i].line.stack;
    }
  }
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

HostBlock::~HostBlock() {
  if constexpr (!races::kWatched) return;
  const auto end = [](const races::Line& line) {
    if (line.fiber != nullptr) races::give_back(line);
  };
  end(fresh_);
  for (const ProductLine& of_warp : product_lines_) end(of_warp.line);
  for (const Fiber& fiber : fibers_) {
    end(fiber.copier);
    end(fiber.line);
  }
}

/// A line that is begun where it is first needed.
const races::Line& HostBlock::begun(races::Line& line) {
  if (line.fiber == nullptr) line = races::take_line(kStackBytes);
  return line;
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

TOME_UNWATCHED void HostBlock::enter(unsigned low, unsigned high, unsigned thread) {
  const uint64_t address = (static_cast<uint64_t>(high) << 32) | low;
  reinterpret_cast<HostBlock*>(address)->thread_main(static_cast<int>(thread));
}

TOME_UNWATCHED void HostBlock::thread_main(int thread) {
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
  races::look_away();
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
#elif defined(__SANITIZE_THREAD__)
TOME_UNWATCHED void HostBlock::leave(Fiber& fiber) {
  races::look();
  races::go_on(scheduler_.fiber);
  swapcontext(&fiber.context, &scheduler_context_);
  races::look_away();
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
#elif defined(__SANITIZE_THREAD__)
  scheduler_.fiber = __tsan_get_current_fiber();
  races::go_on(fiber.line.fiber);
  swapcontext(&scheduler_context_, &fiber.context);
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
    fiber.copies.clear();
    fiber.copies.emplace_back();
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
                     void (*operation)(void* const*), Orders orders) {
  const races::Unwatched unwatched;
  void* const word = orders == Orders::kMemory ? meeting.words[meeting.round % 2].at() : nullptr;
  if (orders == Orders::kMemory) races::leave_at(word);
  if (meeting.arrived == 0) meeting.name = name;
  if (std::string_view(meeting.name) != name) {
    throw std::logic_error(std::string("threads meet at ") + meeting.name + " and at " + name);
  }
  meeting.arguments[slot] = mine;
  if (++meeting.arrived == static_cast<int>(meeting.arguments.size())) {
    if (orders == Orders::kMemory) races::take_at(word);
    operation(meeting.arguments.data());
    meeting.arrived = 0;
    ++meeting.round;
    return;
  }
  Fiber& fiber = fibers_[thread];
  fiber.waits_at = &meeting;
  fiber.waits_for_round = meeting.round;
  leave(fiber);
  if (orders == Orders::kMemory) races::take_at(word);
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
  block_->meet(
      thread_, block_->warp_of(thread_), lane(), "sync_warp", nullptr, [](void* const*) {},
      Orders::kMemory);
}

void HostContext::sync_block() const {
  block_->meet(
      thread_, block_->all(), thread_, "sync_block", nullptr, [](void* const*) {}, Orders::kMemory);
}

// Of a block, what its first thread says: its threads say it together.
void HostContext::launch_dependents() const {
  const races::Unwatched unwatched;
  if (thread_ == 0) ++block_->said().launched;
}
void HostContext::wait_for_prerequisites() const {
  const races::Unwatched unwatched;
  if (thread_ == 0) ++block_->said().waited;
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
                            ThreadOrder order, LaunchOrder when) {
  check_shape(shape);
  const races::Unwatched unwatched;
  const races::Launch launch(when);
  const int64_t blocks = static_cast<int64_t>(shape.grid.x) * shape.grid.y * shape.grid.z;
  SaidByBlocks said;
  said.blocks = blocks;
  std::unique_ptr<HostBlock> block;
  for (int64_t i = 0; i < blocks; ++i) {
    // Watched blocks have lines, and shared memory, of their own.
    if (block == nullptr || races::kWatched) {
      block.reset();
      block = std::make_unique<HostBlock>(shape, body, order, said);
    }
    const int64_t at = order == ThreadOrder::kForwards ? i : blocks - 1 - i;
    block->run({static_cast<int>(at % shape.grid.x),
                static_cast<int>(at / shape.grid.x % shape.grid.y),
                static_cast<int>(at / shape.grid.x / shape.grid.y)});
  }
  return said;
}

}  // namespace tome::cuda
