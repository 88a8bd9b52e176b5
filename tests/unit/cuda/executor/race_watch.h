// What ThreadSanitizer is told of a launch, in a build that has it; nothing in others.
//
// Note [Races that ThreadSanitizer sees]
// The executor runs threads one after another, so what it shows of races by itself is where the
// order of threads changes a result. In a build with ThreadSanitizer (GCC's, -Db_sanitize=thread)
// each load and store of a kernel body is compared with those of other threads to the same bytes:
// if one of two stores, something must order them that orders memory in CUDA, or both lines are
// reported. That is
// - sync_block and sync_warp, among the threads that meet there, but not shuffles, votes, ldmatrix
//   and products, at which they merely meet;
// - arrive_last, between what blocks wrote before it and what the last one reads with load_fresh,
//   and by nothing else;
// - beginning and end of a launch. Blocks of one launch are not ordered, nor are launches of which
//   one runs beside the other (LaunchOrder::kBesideLast).
// An asynchronous copy is made at any time from copy_async16 to the copy_wait of its thread, and a
// product's tile is read from group_mma to group_wait: each has a line of its own.
//
// A line is what ThreadSanitizer calls a fiber. Making one is slow, and it takes few, so later
// launches have the lines of earlier ones, which are ordered anyway. In a launch of more than
// kMostLines threads, the later blocks have lines of the first: races of blocks so far from each
// other are not seen. Small grids see all.
#pragma once

#include <cstddef>

#include "cuda/types.h"

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>

#include <memory>

extern "C" {
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
void __tsan_read_range_pc(void* at, long bytes, void* caller);
void __tsan_write_range_pc(void* at, long bytes, void* caller);
}

/// Of functions that begin on one line and end on another, or never.
#define TOME_UNWATCHED __attribute__((no_sanitize("thread")))
/// Where the present function was called.
#define TOME_CALLER __builtin_return_address(0)
#else
#define TOME_UNWATCHED
#define TOME_CALLER nullptr
#endif

namespace tome::cuda::races {

#if defined(__SANITIZE_THREAD__)

constexpr bool kWatched = true;

/// Loads and stores from here on are the executor's own; those from there on are not.
inline void look_away() { __tsan_ignore_thread_begin(); }
inline void look() { __tsan_ignore_thread_end(); }

/// While it lives, nobody looks. Not two within each other where a thread of a block waits.
class Unwatched {
 public:
  Unwatched() { look_away(); }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
  ~Unwatched() { look(); }
};

/// A line of execution, and a stack that only it uses.
struct Line {
  void* fiber = nullptr;
  unsigned char* stack = nullptr;
};

/// The rest of the present function, and what it calls, are on that line.
[[gnu::always_inline]] TOME_UNWATCHED inline void go_on(void* fiber) {
  __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
}

/// What was done before leave() comes before what is done after take(), by the present line or
/// another. The same at a place that kernels have.
TOME_UNWATCHED inline void leave_at(void* place) { __tsan_release(place); }
TOME_UNWATCHED inline void take_at(void* place) { __tsan_acquire(place); }
TOME_UNWATCHED inline void leave_at(void* place, const Line& line) {
  void* const mine = __tsan_get_current_fiber();
  go_on(line.fiber);
  __tsan_release(place);
  go_on(mine);
}
TOME_UNWATCHED inline void take_at(void* place, const Line& line) {
  void* const mine = __tsan_get_current_fiber();
  go_on(line.fiber);
  __tsan_acquire(place);
  go_on(mine);
}

/// A place of one's own.
class Word {
 public:
  void* at() const { return place_.get(); }

 private:
  std::unique_ptr<char> place_ = std::make_unique<char>();
};

/// Accesses. @param caller  where the report says that they are
TOME_UNWATCHED inline void reads(const void* at, size_t bytes, void* caller) {
  __tsan_read_range_pc(const_cast<void*>(at), static_cast<long>(bytes), caller);
}
TOME_UNWATCHED inline void reads(const void* at, size_t bytes, void* caller, const Line& line) {
  void* const mine = __tsan_get_current_fiber();
  go_on(line.fiber);
  reads(at, bytes, caller);
  go_on(mine);
}
TOME_UNWATCHED inline void writes(void* at, size_t bytes, void* caller, const Line& line) {
  void* const mine = __tsan_get_current_fiber();
  go_on(line.fiber);
  __tsan_write_range_pc(at, static_cast<long>(bytes), caller);
  go_on(mine);
}

/// A launch while it lives: its lines know what came before it, and what comes after it knows them.
class Launch {
 public:
  explicit Launch(LaunchOrder order);
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch();
};

/// Counts races while it lives, which then are no errors. Reports that have the same two lines of
/// code count once in a process.
class ExpectedRaces {
 public:
  ExpectedRaces();
  ExpectedRaces(const ExpectedRaces&) = delete;
  ExpectedRaces& operator=(const ExpectedRaces&) = delete;
  ~ExpectedRaces();
  int count() const;
};

/// A line of the present launch.
Line take_line(size_t stack_bytes);
/// Ends what it does in the launch.
void give_back(const Line& line);

#else

constexpr bool kWatched = false;

inline void look_away() {}

class Unwatched {
 public:
  Unwatched() {}  // NOLINT(modernize-use-equals-default): an unused variable otherwise
};

struct Line {
  void* fiber = nullptr;
  unsigned char* stack = nullptr;
};

inline void leave_at(void* /*place*/) {}
inline void take_at(void* /*place*/) {}
inline void leave_at(void* /*place*/, const Line& /*line*/) {}
inline void take_at(void* /*place*/, const Line& /*line*/) {}

struct Word {
  static void* at() { return nullptr; }
};

inline void reads(const void* /*at*/, size_t /*bytes*/, void* /*caller*/) {}
inline void reads(const void*, size_t, void*, const Line&) {}
inline void writes(void*, size_t, void*, const Line&) {}

class Launch {
 public:
  explicit Launch(LaunchOrder /*order*/) {}
};

inline Line take_line(size_t /*stack_bytes*/) { return {}; }
inline void give_back(const Line& /*line*/) {}

#endif

}  // namespace tome::cuda::races
