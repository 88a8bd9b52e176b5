// Races that hardware has, and the host executor must show: a small kernel with each fault, in both
// orders of threads. See the notes in host_executor.h.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/executor/host_executor.h"

namespace tome::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTileVectors = 64 * 8;  // 64 rows of 128 bytes

using Body = std::function<void(HostContext&)>;

/// What the executor says of a block; empty: nothing.
std::string said_of(const Body& body, ThreadOrder order, int threads = kThreads,
                    int shared_bytes = kTileVectors * 16) {
  LaunchShape shape;
  shape.threads = threads;
  shape.shared_bytes = shared_bytes;
  try {
    launch_on_host(shape, body, order);
    return "";
  } catch (const std::logic_error& error) {
    return error.what();
  }
}

void expect_said(const std::string& words, const Body& body, int threads = kThreads) {
  for (const auto order : {ThreadOrder::kForwards, ThreadOrder::kBackwards}) {
    SCOPED_TRACE(order == ThreadOrder::kForwards ? "forwards" : "backwards");
    const std::string said = said_of(body, order, threads);
    if (words.empty()) {
      EXPECT_EQ(said, "");
    } else {
      EXPECT_NE(said.find(words), std::string::npos) << "'" << said << "', not '" << words << "'";
    }
  }
}

enum class Fault {
  kNone,
  // Of a tile that copies fill.
  kCopiesWithoutFence,
  kFenceBeforeTheWait,
  kProductBeforeTheWait,
  // Of one that threads store.
  kStoresWithoutFence,
  kStoresFencedByOneThread,
  // Of registers.
  kNoGroupFence,
  kResultWrittenAfterTheFence,
  kAnotherProductsFence,
  kNoSecondGroupFence,
  // While the product runs.
  kTileStored,
  kTileCopiedTo,
  kFragmentWritten,
  kResultWritten,
  kWaitForAllButIt,
};

/// A tile of ones is brought to shared memory, and multiplied twice.
class Program {
 public:
  explicit Program(Fault fault) : fault_(fault) {}

  void operator()(HostContext& ctx) const {
    fill(ctx);
    uint32_t a[4];
    for (uint32_t& pair : a) pair = pack2<Bf16>(1, 1);
    float d[32] = {}, other[32] = {};
    if (!is(Fault::kNoGroupFence)) {
      if (is(Fault::kAnotherProductsFence)) {
        ctx.group_fence(other);
      } else {
        ctx.group_fence(d);
      }
    }
    if (is(Fault::kResultWrittenAfterTheFence)) d[31] = 1;
    ctx.group_mma<Bf16, false>(d, a, ctx.group_tile(ctx.shared<Bf16>()), 0, true);
    ctx.group_commit();
    disturb(ctx, a, d);
    if (is(Fault::kWaitForAllButIt)) {
      ctx.group_wait<1>(d);
    } else {
      ctx.group_wait<0>(d);
    }
    if (d[7] != 16) throw std::logic_error("a result of " + std::to_string(d[7]));
    d[7] = 1;
    if (!is(Fault::kNoSecondGroupFence)) ctx.group_fence(d);
    // 16 channels on, and two in the background at once.
    ctx.group_mma<Bf16, false>(d, a, ctx.group_tile(ctx.shared<Bf16>()), 16, true);
    ctx.group_mma<Bf16, true>(d, a, ctx.group_tile(ctx.shared<Bf16>()), 48 * 64, true);
    ctx.group_commit();
    ctx.group_wait<0>(d);
    if (d[7] != 33 || d[8] != 48) throw std::logic_error("a result of " + std::to_string(d[7]));
  }

 private:
  bool is(Fault fault) const { return fault_ == fault; }

  void fill(HostContext& ctx) const {
    auto* tile = ctx.shared<Bytes16>();
    if (is(Fault::kStoresWithoutFence) || is(Fault::kStoresFencedByOneThread)) {
      for (int i = ctx.thread(); i < kTileVectors; i += kThreads) tile[i] = ones_;
      // The first to run, in either order, has the others' stores still before it.
      const int first = is(Fault::kStoresFencedByOneThread) ? 64 : -1;
      if (ctx.thread() == first) ctx.fence_shared();
    } else {
      for (int i = ctx.thread(); i < kTileVectors; i += kThreads)
        ctx.copy_async16(&tile[i], &ones_);
      ctx.copy_commit();
      if (is(Fault::kFenceBeforeTheWait)) ctx.fence_shared();
      if (!is(Fault::kProductBeforeTheWait)) ctx.copy_wait<0>();
      if (!is(Fault::kCopiesWithoutFence) && !is(Fault::kFenceBeforeTheWait)) ctx.fence_shared();
    }
    ctx.sync_block();
  }

  void disturb(HostContext& ctx, uint32_t (&a)[4], float (&d)[32]) const {
    auto* tile = ctx.shared<Bytes16>();
    if (is(Fault::kFragmentWritten)) a[2] = 0;
    if (is(Fault::kResultWritten)) d[31] = 0;
    if (!is(Fault::kTileStored) && !is(Fault::kTileCopiedTo)) return;
    ctx.sync_block();  // all have enqueued, nobody has waited
    if (is(Fault::kTileStored) && ctx.thread() == 77) tile[0] = {};
    if (is(Fault::kTileCopiedTo) && ctx.thread() == 77) {
      ctx.copy_async16(&tile[0], &ones_);
      ctx.copy_commit();
    }
    ctx.sync_block();
  }

  Fault fault_;
  Bytes16 ones_{{0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80}};
};

TEST(HostRaces, AProgramWithoutAFaultRuns) { expect_said("", Program(Fault::kNone)); }

TEST(HostRaces, WhatCopiesWroteIsFencedBeforeAProduct) {
  expect_said("without a fence_shared", Program(Fault::kCopiesWithoutFence));
  expect_said("without a fence_shared", Program(Fault::kFenceBeforeTheWait));
  expect_said("still to write", Program(Fault::kProductBeforeTheWait));
}

TEST(HostRaces, WhatThreadsStoredIsFencedBeforeAProduct) {
  expect_said("without a fence_shared", Program(Fault::kStoresWithoutFence));
  expect_said("without a fence_shared", Program(Fault::kStoresFencedByOneThread));
}

TEST(HostRaces, RegistersAreFencedBeforeAProduct) {
  for (const Fault fault : {Fault::kNoGroupFence, Fault::kResultWrittenAfterTheFence,
                            Fault::kAnotherProductsFence, Fault::kNoSecondGroupFence}) {
    SCOPED_TRACE(static_cast<int>(fault));
    expect_said("without a group_fence", Program(fault));
  }
}

TEST(HostRaces, AProductReadsUntilItIsWaitedFor) {
  expect_said("written while group_mma may read it", Program(Fault::kTileStored));
  expect_said("written while group_mma may read it", Program(Fault::kTileCopiedTo));
  expect_said("a was written before group_wait", Program(Fault::kFragmentWritten));
  expect_said("d was written before group_wait", Program(Fault::kResultWritten));
  expect_said("a result of nan", Program(Fault::kWaitForAllButIt));
}

/// A wait gives back what it names; the compiler may move what it does not across it.
TEST(HostRaces, AResultIsThereAfterAWaitThatNamesIt) {
  const auto body = [](HostContext& ctx) {
    ctx.shared<Bytes16>()[ctx.thread()] = {};
    ctx.shared<Bytes16>()[kTileVectors / 2 + ctx.thread()] = {};
    ctx.fence_shared();
    ctx.sync_block();
    const uint32_t a[4] = {};
    float named[32] = {}, forgotten[32] = {};
    ctx.group_fence(named);
    ctx.group_fence(forgotten);
    ctx.group_mma<Half, true>(named, a, ctx.group_tile(ctx.shared<Half>()), 0, false);
    ctx.group_mma<Half, true>(forgotten, a, ctx.group_tile(ctx.shared<Half>()), 0, false);
    ctx.group_commit();
    ctx.group_wait<0>(named);
    EXPECT_EQ(named[0], 0);
    EXPECT_TRUE(std::isnan(forgotten[0]));
    ctx.group_wait<0>(forgotten);
    EXPECT_EQ(forgotten[0], 0);
  };
  expect_said("", body);
  expect_said("without a group_fence", [&](HostContext& ctx) {
    body(ctx);
    const uint32_t a[4] = {};
    float d[32] = {};
    for (int i = 0; i < 2; ++i) {  // whose result is what d was
      if (i == 0) ctx.group_fence(d);
      ctx.group_mma<Half, true>(d, a, ctx.group_tile(ctx.shared<Half>()), 0, true);
      ctx.group_commit();
      ctx.group_wait<0>(d);
    }
  });
}

TEST(HostRaces, AnotherThreadsFenceIsNotTheWriters) {
  const Bytes16 source{};
  expect_said("without a fence_shared", [&](HostContext& ctx) {
    for (const int writer : {0, 1}) {
      if (ctx.thread() == writer) {
        ctx.copy_async16(ctx.shared<Bytes16>(), &source);
        ctx.copy_commit();
        ctx.copy_wait<0>();
      }
      ctx.sync_block();
    }
    if (ctx.thread() != 1) ctx.fence_shared();
    ctx.sync_block();
    const uint32_t a[4] = {};
    float d[32] = {};
    ctx.group_fence(d);
    ctx.group_mma<Half, true>(d, a, ctx.group_tile(ctx.shared<Half>()), 0, false);
  });
}

TEST(HostRaces, AllWarpsOfAWarpgroupMultiply) {
  const auto body = [](HostContext& ctx) {
    if (ctx.warp() == 6) return;
    ctx.fence_shared();
    const uint32_t a[4] = {};
    float d[32] = {};
    ctx.group_fence(d);
    ctx.group_mma<Bf16, false>(d, a, ctx.group_tile(ctx.shared<Bf16>()), 0, false);
    ctx.group_commit();
    ctx.group_wait<0>(d);
  };
  expect_said("by some warps of a warpgroup", body, 256);
  expect_said("", body, 128);
}

/// One thread's copy over what its partners have yet to read; one that reads before its wait.
TEST(HostRaces, CopiesLandAsLateAndAsEarlyAsTheyMay) {
  const std::vector<Bytes16> first(kThreads, Bytes16{{1}}), second(kThreads, Bytes16{{2}});
  struct Wrong {
    int overwritten = 0, early = 0;
  };
  const auto run = [&](ThreadOrder order) {
    Wrong wrong;
    const auto body = [&](HostContext& ctx) {
      auto* tile = ctx.shared<Bytes16>();
      const int mine = ctx.thread();
      ctx.copy_async16(&tile[mine], &first[mine]);
      ctx.copy_commit();
      if (tile[mine].word[0] != 1) ++wrong.early;
      ctx.copy_wait<0>();
      ctx.sync_block();
      ctx.copy_async16(&tile[mine], &second[mine]);
      ctx.copy_commit();
      if (tile[kThreads - 1 - mine].word[0] != 1) ++wrong.overwritten;
      ctx.sync_block();
      ctx.copy_wait<0>();
    };
    EXPECT_EQ(said_of(body, order), "");
    return wrong;
  };
  EXPECT_EQ(run(ThreadOrder::kForwards).early, kThreads);
  EXPECT_GE(run(ThreadOrder::kBackwards).overwritten, kThreads / 2);
}

TEST(HostRaces, NobodyLoadsAMatrixThatACopyIsStillToWrite) {
  const Bytes16 source{{1, 2, 3, 4}};
  for (const bool waits : {false, true}) {
    const auto body = [&](HostContext& ctx) {
      auto* rows = ctx.shared<Bytes16>();
      ctx.copy_async16(&rows[ctx.thread()], &source);
      ctx.copy_commit();
      if (waits || ctx.thread() != 40) ctx.copy_wait<0>();
      ctx.sync_block();
      uint32_t r[4];
      ctx.load_matrix_x4(r, &rows[(ctx.thread() + 32) % kThreads]);
      ctx.load_matrix_x4_transposed(r, &rows[ctx.thread()]);
    };
    expect_said(waits ? "" : "load_matrix of what a copy is still to write", body);
  }
}

TEST(HostRaces, CopiesThatCannotBeRightAreErrors) {
  const Bytes16 source{};
  expect_said("another copy is on its way", [&](HostContext& ctx) {
    ctx.copy_async16(ctx.shared<Bytes16>(), &source);  // by all threads
  });
  for (const int vector : {-1, kTileVectors}) {
    expect_said("outside shared memory", [&](HostContext& ctx) {
      ctx.copy_async16(ctx.shared<Bytes16>() + vector, &source);
    });
  }
}

/// Whether a block of such a grid begins, and is not refused.
bool launches(Extent grid, int threads, int shared_bytes) {
  struct Begun {};
  LaunchShape shape;
  shape.grid = grid;
  shape.threads = threads;
  shape.shared_bytes = shared_bytes;
  try {
    launch_on_host(shape, [](HostContext&) { throw Begun(); });
  } catch (const Begun&) {
    return true;
  } catch (const std::logic_error&) {
    return false;
  }
  ADD_FAILURE() << "neither";
  return false;
}

TEST(HostLaunch, TakesWhatEveryGpuTakes) {
  EXPECT_TRUE(launches({1, 1, 1}, 32, 0));
  EXPECT_TRUE(launches({2147483647, 65535, 65535}, 1024, 99 * 1024));
  for (const int none : {0, -1}) {
    EXPECT_FALSE(launches({none, 1, 1}, 32, 0));
    EXPECT_FALSE(launches({1, none, 1}, 32, 0));
    EXPECT_FALSE(launches({1, 1, none}, 32, 0));
    EXPECT_FALSE(launches({1, 1, 1}, none, 0));
  }
  EXPECT_FALSE(launches({1, 65536, 1}, 32, 0));
  EXPECT_FALSE(launches({1, 1, 65536}, 32, 0));
  EXPECT_FALSE(launches({1, 1, 1}, 1056, 0));
  EXPECT_FALSE(launches({1, 1, 1}, 32, 99 * 1024 + 1));
  EXPECT_FALSE(launches({1, 1, 1}, 32, -16));
}

}  // namespace
}  // namespace tome::cuda
