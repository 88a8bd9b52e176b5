// Races that a build with ThreadSanitizer reports: Note [Races that ThreadSanitizer sees]. Small
// kernels with each fault, and without.
#include <gtest/gtest.h>

#include <functional>

#include "cuda/executor/host_executor.h"

namespace tome::cuda {
namespace {

#if defined(__SANITIZE_THREAD__)

constexpr int kWatchedThreads = 128;
constexpr int kWatchedVectors = 64 * 8;

/// Races that ThreadSanitizer sees in two launches of a body.
int races_of(const std::function<void(HostContext&)>& body, int blocks = 1,
             LaunchOrder second = LaunchOrder::kInTurn) {
  LaunchShape shape;
  shape.grid.x = blocks;
  shape.threads = kWatchedThreads;
  shape.shared_bytes = kWatchedVectors * 16;
  const races::ExpectedRaces expected;
  launch_on_host(shape, body);
  launch_on_host(shape, body, ThreadOrder::kForwards, second);
  return expected.count();
}

/// What threads hand to each other by way of shared memory.
enum class Handed { kBarrier, kWarpBarrier, kShuffle, kVote, kMatrix, kNothing };

template <Handed kHow>
void hand_over(HostContext& ctx) {
  auto* mine = ctx.shared<Bytes16>() + ctx.thread();
  *mine = {};
  if (kHow == Handed::kBarrier) ctx.sync_block();
  if (kHow == Handed::kWarpBarrier) ctx.sync_warp();
  if (kHow == Handed::kShuffle) ctx.shuffle(1, 0);
  if (kHow == Handed::kVote) ctx.any(true);
  if (kHow == Handed::kMatrix) {
    uint32_t r[4];
    ctx.load_matrix_x4(r, mine);
    return;
  }
  const auto* other = ctx.shared<Bytes16>() + (ctx.thread() ^ 1);
  EXPECT_EQ(other->word[0], other->word[1]);
}

TEST(WatchedRaces, OnlyBarriersOrderMemory) {
  EXPECT_EQ(races_of(hand_over<Handed::kBarrier>), 0);
  EXPECT_EQ(races_of(hand_over<Handed::kWarpBarrier>), 0);
  EXPECT_GT(races_of(hand_over<Handed::kShuffle>), 0);
  EXPECT_GT(races_of(hand_over<Handed::kVote>), 0);
  EXPECT_GT(races_of(hand_over<Handed::kMatrix>), 0);
  EXPECT_GT(races_of(hand_over<Handed::kNothing>), 0);
}

TEST(WatchedRaces, AWarpsBarrierIsOfThatWarp) {
  EXPECT_GT(races_of([](HostContext& ctx) {
              ctx.shared<int>()[ctx.thread()] = 1;
              ctx.sync_warp();
              EXPECT_NE(ctx.shared<int>()[kWatchedThreads - 1 - ctx.thread()], 0);
            }),
            0);
}

TEST(WatchedRaces, TheLastBlockReadsTheOthersWorkFresh) {
  int parts[3];
  unsigned counter = 0;
  const auto last_reads = [&](HostContext& ctx, auto read) {
    if (ctx.thread() == 5) parts[ctx.block_x()] = 1;
    if (!ctx.arrive_last(&counter, 3)) return;
    EXPECT_EQ(read(parts[0]) + read(parts[1]) + read(parts[2]), 3);
  };
  EXPECT_EQ(races_of(
                [&](HostContext& ctx) {
                  last_reads(ctx, [&](const int& part) { return ctx.load_fresh(&part); });
                },
                3),
            0);
  EXPECT_GT(
      races_of([&](HostContext& ctx) { last_reads(ctx, [](const int& part) { return part; }); }, 3),
      0);
}

TEST(WatchedRaces, BlocksAreNotOrderedButLaunchesAre) {
  int apart[kWatchedThreads * 2], together[kWatchedThreads];
  const auto own = [&](HostContext& ctx) {
    apart[ctx.block_x() * kWatchedThreads + ctx.thread()] = ctx.block_x();
  };
  EXPECT_EQ(races_of(own, 2), 0);
  EXPECT_GT(races_of(own, 2, LaunchOrder::kBesideLast), 0);
  EXPECT_GT(races_of([&](HostContext& ctx) { together[ctx.thread()] = 1; }, 2), 0);
  EXPECT_EQ(apart[kWatchedThreads] + together[0], 2);
}

/// Threads copy rows, and read those of others.
template <bool kMeetsAfter>
void copy_over(HostContext& ctx) {
  static const Bytes16 source{};
  for (int i = 0; i < 2; ++i) {
    ctx.copy_async16(ctx.shared<Bytes16>() + ctx.thread(), &source);
    ctx.copy_commit();
    ctx.copy_wait<0>();
    ctx.sync_block();
    EXPECT_EQ(ctx.shared<Bytes16>()[ctx.thread() ^ 64].word[0], 0U);
    if (kMeetsAfter) ctx.sync_block();
  }
}

TEST(WatchedRaces, CopiesAreMadeAtAnyTimeUntilTheirWait) {
  EXPECT_EQ(races_of(copy_over<true>), 0);
  EXPECT_GT(races_of(copy_over<false>), 0);
  const auto read_between = [](HostContext& ctx, bool own) {
    static const Bytes16 source{};
    ctx.copy_async16(ctx.shared<Bytes16>() + ctx.thread(), &source);
    ctx.copy_commit();
    ctx.sync_block();  // none has waited
    ctx.shuffle(ctx.shared<Bytes16>()[own ? ctx.thread() : ctx.thread() ^ 64].word[0], 0);
    ctx.sync_block();
    ctx.copy_wait<0>();
  };
  EXPECT_GT(races_of([&](HostContext& ctx) { read_between(ctx, true); }), 0);
  EXPECT_GT(races_of([&](HostContext& ctx) { read_between(ctx, false); }), 0);
}

TEST(WatchedRaces, AProductReadsItsTileUntilAllHaveWaited) {
  const auto multiply = [](HostContext& ctx, bool meets) {
    auto* tile = ctx.shared<Bytes16>();
    for (int i = ctx.thread(); i < kWatchedVectors; i += kWatchedThreads) tile[i] = {};
    ctx.fence_shared();
    ctx.sync_block();
    const uint32_t a[4] = {};
    float d[32] = {};
    ctx.group_fence(d);
    ctx.group_mma<Bf16, false>(d, a, ctx.group_tile(ctx.shared<Bf16>()), 0, true);
    ctx.group_commit();
    ctx.group_wait<0>(d);
    if (meets) ctx.sync_block();
    tile[ctx.thread()] = {};
  };
  EXPECT_EQ(races_of([&](HostContext& ctx) { multiply(ctx, true); }), 0);
  EXPECT_GT(races_of([&](HostContext& ctx) { multiply(ctx, false); }), 0);
}

#else

TEST(WatchedRaces, NeedABuildWithThreadSanitizer) {
  GTEST_SKIP() << "docs/gpu.md says how to make one";
}

#endif

}  // namespace
}  // namespace tome::cuda
