#undef _FORTIFY_SOURCE  // its longjmp check takes a jump between stacks for an attack
#include "cuda/host_executor.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tome::cuda {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

/// Threads that meet: a warp, or the whole block.
struct Meeting {
  const char* name = nullptr;
  int arrived = 0;
  uint64_t round = 0;
  std::vector<void*> arguments;
};

struct PendingCopy {
  void* to;
  const void* from;
  bool valid;
};

/// A thread's part of products that run in the background: what d will be, by where d is.
struct PendingProduct {
  std::array<float, 32> sum;
  int group;
};

/// A thread of the block. Switching goes through setjmp, which unlike swapcontext needs no system
/// call; under AddressSanitizer, which must know the stack in use, through swapcontext.
struct Fiber {
  ucontext_t context{};
  jmp_buf jump{};
  std::unique_ptr<unsigned char[]> stack;
  bool started = false, done = false;
  const Meeting* waits_at = nullptr;
  uint64_t waits_for_round = 0;
  std::vector<std::vector<PendingCopy>> copies;  // groups; the last one is open
  std::map<float*, PendingProduct> products;
  int product_groups = 0;
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

class HostBlock {
 public:
  HostBlock(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
            ThreadOrder order);
  void run(Extent place);

  void meet(int thread, Meeting& meeting, int slot, const char* name, void* mine,
            void (*operation)(void* const*));
  Meeting& warp_of(int thread) { return warps_[thread / kWarpSize]; }
  Meeting& all() { return all_; }
  Fiber& fiber(int thread) { return fibers_[thread]; }
  unsigned char* shared() { return static_cast<unsigned char*>(shared_.get()); }
  const LaunchShape& shape() const { return shape_; }
  const Extent& place() const { return place_; }

 private:
  static void enter(unsigned low, unsigned high, unsigned thread);
  void thread_main(int thread);
  bool resume(int thread);
  bool resume_warp(int warp);
  void leave(Fiber& fiber);
  [[noreturn]] void report_stuck() const;

  LaunchShape shape_;
  const std::function<void(HostContext&)>& body_;
  ThreadOrder order_;
  Extent place_;
  std::vector<Fiber> fibers_;
  std::vector<Meeting> warps_;
  Meeting all_;
  std::unique_ptr<void, FreeDeleter> shared_;
  ucontext_t scheduler_context_{};
  jmp_buf scheduler_jump_{};
  int remaining_ = 0;
  std::exception_ptr failure_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
};

HostBlock::HostBlock(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                     ThreadOrder order)
    : shape_(shape), body_(body), order_(order), fibers_(shape.threads) {
  if (shape.threads <= 0 || shape.threads > 1024 || shape.threads % kWarpSize != 0) {
    throw std::logic_error("a block of " + std::to_string(shape.threads) +
                           " threads; a multiple of 32 up to 1024 is needed");
  }
  warps_.resize(shape.threads / kWarpSize);
  for (Meeting& warp : warps_) warp.arguments.resize(kWarpSize);
  all_.arguments.resize(shape.threads);
  for (Fiber& fiber : fibers_)
    fiber.stack = std::make_unique_for_overwrite<unsigned char[]>(kStackBytes);
  const size_t bytes = (static_cast<size_t>(shape.shared_bytes) / 1024 + 1) * 1024;
  shared_.reset(std::aligned_alloc(1024, bytes));
  if (shared_ == nullptr) throw std::bad_alloc();
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
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    const auto address = reinterpret_cast<uint64_t>(this);
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(&HostBlock::enter), 3,
                static_cast<unsigned>(address), static_cast<unsigned>(address >> 32),
                static_cast<unsigned>(thread));
  }
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack.get(), kStackBytes);
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

void HostBlock::run(Extent place) {
  place_ = place;
  remaining_ = shape_.threads;
  memset(shared(), 0xff, static_cast<size_t>(shape_.shared_bytes));
  for (Fiber& fiber : fibers_) {
    fiber.started = fiber.done = false;
    fiber.waits_at = nullptr;
    fiber.copies.assign(1, {});
    fiber.products.clear();
    fiber.product_groups = 0;
  }
  const int warps = static_cast<int>(warps_.size());
  while (remaining_ > 0) {
    bool any = false;
    for (int i = 0; i < warps; ++i) {
      any = resume_warp(order_ == ThreadOrder::kForwards ? i : warps - 1 - i) || any;
    }
    if (!any) report_stuck();
  }
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
  block_->fiber(thread_).copies.back().push_back({to_shared, from_global, valid});
}

void HostContext::copy_commit() const { block_->fiber(thread_).copies.emplace_back(); }

void HostContext::copy_wait(int pending) const {
  auto& groups = block_->fiber(thread_).copies;
  while (static_cast<int>(groups.size()) - 1 > pending) {
    for (const PendingCopy& copy : groups.front()) {
      if (copy.valid) {
        memcpy(copy.to, copy.from, 16);
      } else {
        memset(copy.to, 0, 16);
      }
    }
    groups.erase(groups.begin());
  }
}

template <class T>
void HostContext::tile_mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) const {
  struct Fragments {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
  } mine{d, a, b};
  warp_operation("tile_mma", &mine, [](void* const* lanes) {
    float left[16][16], right[16][8], sum[8];
    for (int i = 0; i < kWarpSize; ++i) {
      const auto* lane = static_cast<const Fragments*>(lanes[i]);
      const int g = i / 4, t = i % 4;
      for (int part = 0; part < 4; ++part) {
        float* out = &left[g + part % 2 * 8][2 * t + part / 2 * 8];
        out[0] = unpack_low<T>(lane->a[part]);
        out[1] = unpack_high<T>(lane->a[part]);
      }
      for (int part = 0; part < 2; ++part) {
        right[2 * t + 8 * part][g] = unpack_low<T>(lane->b[part]);
        right[2 * t + 8 * part + 1][g] = unpack_high<T>(lane->b[part]);
      }
    }
    for (int row = 0; row < 16; ++row) {
      for (float& s : sum) s = 0;
      for (int k = 0; k < 16; ++k) {
        for (int column = 0; column < 8; ++column) sum[column] += left[row][k] * right[k][column];
      }
      for (int column = 0; column < 8; ++column) {
        const auto* lane = static_cast<const Fragments*>(lanes[row % 8 * 4 + column / 2]);
        lane->d[row / 8 * 2 + column % 2] += sum[column];
      }
    }
  });
}

template void HostContext::tile_mma<Bf16>(float (&)[4], const uint32_t (&)[4],
                                          const uint32_t (&)[2]) const;
template void HostContext::tile_mma<Half>(float (&)[4], const uint32_t (&)[4],
                                          const uint32_t (&)[2]) const;

namespace {

struct MatrixLoad {
  uint32_t* r;
  const void* row;
};

template <bool kTransposed>
void load_matrices(void* const* lanes) {
  const auto row_of = [&](int matrix, int row) {
    return static_cast<const uint16_t*>(
        static_cast<const MatrixLoad*>(lanes[matrix * 8 + row])->row);
  };
  for (int i = 0; i < kWarpSize; ++i) {
    uint32_t* r = static_cast<const MatrixLoad*>(lanes[i])->r;
    const int g = i / 4, t = i % 4;
    for (int m = 0; m < 4; ++m) {
      const uint16_t first = kTransposed ? row_of(m, 2 * t)[g] : row_of(m, g)[2 * t];
      const uint16_t second = kTransposed ? row_of(m, 2 * t + 1)[g] : row_of(m, g)[2 * t + 1];
      r[m] = first | (static_cast<uint32_t>(second) << 16);
    }
  }
}

void check_row(const void* row) {
  if (!is_aligned16(row)) throw std::logic_error("load_matrix row is not 16-byte aligned");
}

}  // namespace

void HostContext::load_matrix_x4(uint32_t (&r)[4], const void* row) const {
  check_row(row);
  MatrixLoad mine{r, row};
  warp_operation("load_matrix_x4", &mine, load_matrices<false>);
}

void HostContext::load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) const {
  check_row(row);
  MatrixLoad mine{r, row};
  warp_operation("load_matrix_x4_transposed", &mine, load_matrices<true>);
}

namespace {

struct GroupFragments {
  float* sum;
  const uint32_t* a;
  const void* b;
};

/// Element (k, n) of a swizzled tile's 16 x 64 part that begins at `b`.
template <class T, bool kColumns>
float tile_element(const void* b, int k, int n) {
  const auto address = reinterpret_cast<uintptr_t>(b);
  const uintptr_t base = address / 1024 * 1024;
  const uintptr_t at =
      address - base + static_cast<uintptr_t>(kColumns ? k * 128 + n * 2 : n * 128 + k * 2);
  return to_float(*reinterpret_cast<const T*>(base + (at ^ ((at >> 7) % 8 << 4))));
}

template <class T, bool kColumns>
void multiply_group(void* const* lanes) {
  const void* b = static_cast<const GroupFragments*>(lanes[0])->b;
  float left[16][16], right[16][64];
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < 64; ++n) right[k][n] = tile_element<T, kColumns>(b, k, n);
  }
  for (int i = 0; i < kWarpSize; ++i) {
    const auto* lane = static_cast<const GroupFragments*>(lanes[i]);
    if (lane->b != b) throw std::logic_error("group_mma with different tiles in one warp");
    for (int part = 0; part < 4; ++part) {
      float* out = &left[i / 4 + part % 2 * 8][i % 4 * 2 + part / 2 * 8];
      out[0] = unpack_low<T>(lane->a[part]);
      out[1] = unpack_high<T>(lane->a[part]);
    }
  }
  for (int i = 0; i < kWarpSize; ++i) {
    float* sum = static_cast<const GroupFragments*>(lanes[i])->sum;
    for (int e = 0; e < 32; ++e) {
      const int row = i / 4 + e / 2 % 2 * 8, column = e / 4 * 8 + i % 4 * 2 + e % 2;
      for (int k = 0; k < 16; ++k) sum[e] += left[row][k] * right[k][column];
    }
  }
}

}  // namespace

template <class T, bool kColumns>
void HostContext::group_mma(float (&d)[32], const uint32_t (&a)[4], const T* b, bool add) const {
  if (threads() % 128 != 0) throw std::logic_error("group_mma in a block without whole warpgroups");
  Fiber& fiber = block_->fiber(thread_);
  auto [found, fresh] = fiber.products.try_emplace(d);
  std::array<float, 32>& sum = found->second.sum;
  found->second.group = fiber.product_groups;
  if (!add) {
    sum.fill(0);
  } else if (fresh) {
    std::copy_n(d, 32, sum.begin());
  }
  std::fill_n(d, 32, std::numeric_limits<float>::quiet_NaN());  // until it is waited for
  GroupFragments mine{sum.data(), a, b};
  warp_operation("group_mma", &mine, multiply_group<T, kColumns>);
}

void HostContext::group_commit() const { ++block_->fiber(thread_).product_groups; }

void HostContext::group_wait(int pending) const {
  Fiber& fiber = block_->fiber(thread_);
  for (auto it = fiber.products.begin(); it != fiber.products.end();) {
    if (it->second.group >= fiber.product_groups - pending) {
      ++it;
      continue;
    }
    std::copy_n(it->second.sum.begin(), 32, it->first);
    it = fiber.products.erase(it);
  }
}

template void HostContext::group_mma<Bf16, false>(float (&)[32], const uint32_t (&)[4], const Bf16*,
                                                  bool) const;
template void HostContext::group_mma<Bf16, true>(float (&)[32], const uint32_t (&)[4], const Bf16*,
                                                 bool) const;
template void HostContext::group_mma<Half, false>(float (&)[32], const uint32_t (&)[4], const Half*,
                                                  bool) const;
template void HostContext::group_mma<Half, true>(float (&)[32], const uint32_t (&)[4], const Half*,
                                                 bool) const;

void launch_on_host(const LaunchShape& shape, const std::function<void(HostContext&)>& body,
                    ThreadOrder order) {
  HostBlock block(shape, body, order);
  const int64_t blocks = static_cast<int64_t>(shape.grid.x) * shape.grid.y * shape.grid.z;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t at = order == ThreadOrder::kForwards ? i : blocks - 1 - i;
    block.run({static_cast<int>(at % shape.grid.x),
               static_cast<int>(at / shape.grid.x % shape.grid.y),
               static_cast<int>(at / shape.grid.x / shape.grid.y)});
  }
}

}  // namespace tome::cuda
