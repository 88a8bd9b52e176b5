// The host executor itself: operations mean what the PTX manual says, and wrong programs are found.
#include "cuda/executor/host_executor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tome::cuda {
namespace {

LaunchShape shape_of(Extent grid, int threads, int shared_bytes) {
  LaunchShape shape;
  shape.grid = grid;
  shape.threads = threads;
  shape.shared_bytes = shared_bytes;
  return shape;
}

TEST(Numeric, Bf16AndHalfRoundToNearestEven) {
  EXPECT_EQ(from_float<Bf16>(1.0F).bits, 0x3f80);
  EXPECT_EQ(from_float<Bf16>(1.0F + 1.0F / 256).bits, 0x3f80);  // a tie, to even
  EXPECT_EQ(from_float<Bf16>(1.0F + 3.0F / 256).bits, 0x3f82);  // a tie, to even
  EXPECT_EQ(from_float<Bf16>(3.4e38F).bits, 0x7f80);            // to infinity
  EXPECT_TRUE(std::isnan(to_float(from_float<Bf16>(NAN))));
  EXPECT_EQ(from_float<Half>(1.0F).bits, 0x3c00);
  EXPECT_EQ(from_float<Half>(65504.0F).bits, 0x7bff);
  EXPECT_EQ(from_float<Half>(65520.0F).bits, 0x7c00);
  EXPECT_EQ(from_float<Half>(std::ldexp(1.0F, -24)).bits, 0x0001);  // the smallest subnormal
  EXPECT_EQ(from_float<Half>(std::ldexp(1.0F, -25)).bits, 0x0000);  // a tie, to even
  EXPECT_EQ(from_float<Half>(-0.0F).bits, 0x8000);
  EXPECT_TRUE(std::isnan(to_float(from_float<Half>(NAN))));
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const float expected = bits < 0x400 ? std::ldexp(static_cast<float>(bits), -24)
                                        : std::ldexp(static_cast<float>(1024 + bits % 1024),
                                                     static_cast<int>(bits / 1024) - 25);
    ASSERT_EQ(to_float(half), expected);
    ASSERT_EQ(from_float<Half>(expected).bits, bits);
  }
}

TEST(HostExecutor, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> visits(3 * 2 * 4 * 64);
  launch_on_host(shape_of({3, 2, 4}, 64, 0), [&](HostContext& ctx) {
    const int block = (ctx.block_z() * 2 + ctx.block_y()) * 3 + ctx.block_x();
    ++visits[block * 64 + ctx.thread()];
  });
  for (const int v : visits) EXPECT_EQ(v, 1);
}

#if !defined(__SANITIZE_ADDRESS__)  // which ends the process
TEST(HostExecutor, WritingBehindSharedMemoryIsFound) {
  for (const int bytes : {0, 128, 1024}) {
    for (const int beyond : {0, 4, 512, 1023}) {
      EXPECT_THROW(launch_on_host(
                       shape_of({1, 1, 1}, 32, bytes),
                       [&](HostContext& ctx) { ctx.shared<unsigned char>()[bytes + beyond] = 1; }),
                   std::logic_error)
          << bytes << " + " << beyond;
    }
  }
}
#endif

TEST(HostExecutor, BarrierMakesSharedMemoryVisible) {
  for (const auto order : {ThreadOrder::kForwards, ThreadOrder::kBackwards}) {
    std::vector<int> out(256);
    launch_on_host(
        shape_of({1, 1, 1}, 256, 1024),
        [&](HostContext& ctx) {
          int* shared = ctx.shared<int>();
          shared[ctx.thread()] = ctx.thread();
          ctx.sync_block();
          out[ctx.thread()] = shared[255 - ctx.thread()];
        },
        order);
    for (int i = 0; i < 256; ++i) EXPECT_EQ(out[i], 255 - i);
  }
}

TEST(HostExecutor, SharedMemoryStartsAsNanInEveryBlock) {
  launch_on_host(shape_of({2, 1, 1}, 32, 128), [](HostContext& ctx) {
    float* shared = ctx.shared<float>();
    EXPECT_TRUE(std::isnan(shared[ctx.thread()]));
    ctx.sync_block();
    shared[ctx.thread()] = 1;
  });
}

TEST(HostExecutor, MissingBarrierShowsInTheOrderOfThreads) {
  const auto without_barrier = [](ThreadOrder order) {
    float read = 0;
    launch_on_host(
        shape_of({1, 1, 1}, 32, 128),
        [&](HostContext& ctx) {
          float* shared = ctx.shared<float>();
          shared[ctx.thread()] = 1;
          if (ctx.thread() == 31) read = shared[0];
        },
        order);
    return read;
  };
  EXPECT_EQ(without_barrier(ThreadOrder::kForwards), 1);
  EXPECT_TRUE(std::isnan(without_barrier(ThreadOrder::kBackwards)));
}

TEST(HostExecutor, ShufflesMoveValuesWithinTheWarp) {
  launch_on_host(shape_of({1, 1, 1}, 64, 0), [](HostContext& ctx) {
    EXPECT_EQ(ctx.shuffle(ctx.thread(), 5), ctx.warp() * 32 + 5);
    EXPECT_EQ(ctx.shuffle_xor(ctx.thread(), 3), ctx.thread() ^ 3);
    float sum = 1;
    for (int mask = 16; mask > 0; mask /= 2) sum += ctx.shuffle_xor(sum, mask);
    EXPECT_EQ(sum, 32);
    EXPECT_EQ(ctx.any(ctx.thread() == 40), ctx.warp() == 1) << "one lane of the second warp";
    EXPECT_FALSE(ctx.any(false));
  });
}

TEST(HostExecutor, LastBlockSeesAllOthersAndCounterReturnsToZero) {
  for (const auto order : {ThreadOrder::kForwards, ThreadOrder::kBackwards}) {
    unsigned counter = 0;
    std::vector<int> parts(7);
    int last = 0, sum = 0;
    for (int replay = 1; replay <= 2; ++replay) {
      launch_on_host(
          shape_of({7, 1, 1}, 32, 0),
          [&](HostContext& ctx) {
            if (ctx.thread() == 0) parts[ctx.block_x()] = ctx.block_x() + 1;
            if (!ctx.arrive_last(&counter, 7) || ctx.thread() != 31) return;
            ++last;
            for (const int& part : parts) sum += ctx.load_fresh(&part);
          },
          order);
      EXPECT_EQ(last, replay);
      EXPECT_EQ(sum, replay * 28);
      EXPECT_EQ(counter, 0U);
    }
  }
}

/// The lane layouts of mma.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
TEST(HostExecutor, TileMmaMultipliesMatricesInTheManualsLayout) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> small(-8, 8);  // exact in every type
  float a[16][16], b[16][8], d[16][8];
  for (auto& row : a) {
    for (float& v : row) v = static_cast<float>(small(random));
  }
  for (auto& row : b) {
    for (float& v : row) v = static_cast<float>(small(random));
  }
  launch_on_host(shape_of({1, 1, 1}, 32, 0), [&](HostContext& ctx) {
    const int group = ctx.lane() >> 2, in_group = ctx.lane() % 4;
    uint32_t fa[4], fb[2];
    for (int i = 0; i < 8; i += 2) {  // elements a0, a1, .. of the manual
      const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
      const int column = in_group * 2 + (i >= 4 ? 8 : 0);
      fa[i / 2] = pack2<Bf16>(a[row][column], a[row][column + 1]);
    }
    for (int i = 0; i < 4; i += 2) {
      const int row = in_group * 2 + (i >= 2 ? 8 : 0);
      fb[i / 2] = pack2<Bf16>(b[row][group], b[row + 1][group]);
    }
    float c[4] = {1, 2, 3, 4};
    ctx.tile_mma<Bf16>(c, fa, fb);
    for (int i = 0; i < 4; ++i) {
      d[i < 2 ? group : group + 8][in_group * 2 + i % 2] = c[i] - static_cast<float>(i + 1);
    }
  });
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      EXPECT_EQ(d[row][column], sum);
    }
  }
}

TEST(HostExecutor, LoadMatrixAndItsTranspose) {
  launch_on_host(shape_of({1, 1, 1}, 32, 512), [](HostContext& ctx) {
    auto* shared = ctx.shared<uint16_t>();  // four matrices of 8 x 8: 64 m + 8 row + column
    for (int i = ctx.thread(); i < 256; i += 32) shared[i] = static_cast<uint16_t>(i);
    ctx.sync_warp();
    const int g = ctx.lane() / 4, t = ctx.lane() % 4;
    uint32_t r[4];
    ctx.load_matrix_x4(r, shared + 8 * ctx.lane());
    for (uint32_t m = 0; m < 4; ++m) {
      EXPECT_EQ(r[m] & 0xffffU, 64 * m + 8 * g + 2 * t);
      EXPECT_EQ(r[m] >> 16, 64 * m + 8 * g + 2 * t + 1);
    }
    ctx.load_matrix_x4_transposed(r, shared + 8 * ctx.lane());
    for (uint32_t m = 0; m < 4; ++m) {
      EXPECT_EQ(r[m] & 0xffffU, 64 * m + 8 * (2 * t) + g);
      EXPECT_EQ(r[m] >> 16, 64 * m + 8 * (2 * t + 1) + g);
    }
  });
}

/// a[64x16] b[16x64] with b in swizzled rows, as its columns (keys) or as its rows (values).
template <bool kColumns>
void expect_group_product() {
  const auto left = [](int row, int k) { return static_cast<float>((row * 7 + k * 3) % 11 - 5); };
  const auto right = [](int k, int n) { return static_cast<float>((k * 5 + n * 2) % 13 - 6); };
  launch_on_host(shape_of({1, 1, 1}, 128, 64 * 128), [&](HostContext& ctx) {
    auto* tile = ctx.shared<Bf16>();
    constexpr int kFirst = kColumns ? 16 : 32;  // row, or in rows of keys the channel
    for (int i = ctx.thread(); i < 16 * 64; i += 128) {
      const int k = i / 64, n = i % 64;
      const int row = kColumns ? kFirst + k : n, column = kColumns ? n : kFirst + k;
      tile[row * 64 + (column / 8 ^ row % 8) * 8 + column % 8] = from_float<Bf16>(right(k, n));
    }
    ctx.fence_shared();
    ctx.sync_block();
    const int g = ctx.lane() / 4, t = ctx.lane() % 4, first = ctx.warp() * 16;
    uint32_t a[4];
    for (int part = 0; part < 4; ++part) {
      const int row = first + g + part % 2 * 8, k = 2 * t + part / 2 * 8;
      a[part] = pack2<Bf16>(left(row, k), left(row, k + 1));
    }
    float d[32];
    for (float& value : d) value = 1;
    ctx.group_fence(d);
    ctx.group_mma<Bf16, kColumns>(d, a, ctx.group_tile(tile), kColumns ? kFirst * 64 : kFirst,
                                  true);
    ctx.group_commit();
    EXPECT_TRUE(std::isnan(d[0])) << "nobody has waited";
    ctx.template group_wait<0>(d);
    for (int i = 0; i < 32; ++i) {
      const int row = first + g + i / 2 % 2 * 8, n = i / 4 * 8 + 2 * t + i % 2;
      float sum = 1;
      for (int k = 0; k < 16; ++k) sum += left(row, k) * right(k, n);
      EXPECT_EQ(d[i], sum) << row << ", " << n;
    }
  });
}

TEST(HostExecutor, ProductsOfWarpgroups) {
  expect_group_product<false>();
  expect_group_product<true>();
}

TEST(HostExecutor, AsynchronousCopiesLandWhenWaitedFor) {
  const std::vector<Bytes16> source(2, Bytes16{{1, 2, 3, 4}});
  launch_on_host(shape_of({1, 1, 1}, 32, 48), [&](HostContext& ctx) {
    if (ctx.thread() != 0) return;
    auto* shared = ctx.shared<Bytes16>();
    ctx.copy_async16(shared, &source[0], true);
    ctx.copy_commit();
    ctx.copy_async16(shared + 1, &source[1], true);
    ctx.copy_async16(shared + 2, nullptr, false);
    ctx.copy_commit();
    EXPECT_NE(shared[0].word[0], 1U);
    ctx.copy_wait<1>();
    EXPECT_EQ(shared[0].word[3], 4U);
    EXPECT_NE(shared[1].word[0], 1U);
    ctx.copy_wait<0>();
    EXPECT_EQ(shared[1].word[0], 1U);
    EXPECT_EQ(shared[2].word[0], 0U);
  });
}

TEST(HostExecutor, WrongProgramsAreErrors) {
  const auto run = [](int threads, const std::function<void(HostContext&)>& body) {
    launch_on_host(shape_of({1, 1, 1}, threads, 64), body);
  };
  EXPECT_THROW(run(33, [](HostContext&) {}), std::logic_error);
  EXPECT_THROW(run(64,
                   [](HostContext& ctx) {
                     if (ctx.thread() < 40) ctx.sync_block();  // not by all
                   }),
               std::logic_error);
  EXPECT_THROW(run(32,
                   [](HostContext& ctx) {
                     if (ctx.lane() == 3) return;
                     ctx.shuffle(1, 0);
                   }),
               std::logic_error);
  EXPECT_THROW(run(32,
                   [](HostContext& ctx) {
                     if (ctx.lane() < 16) {
                       ctx.sync_warp();
                     } else {
                       ctx.shuffle(1, 0);
                     }
                   }),
               std::logic_error);
  EXPECT_THROW(run(32,
                   [](HostContext& ctx) {
                     ctx.copy_async16(ctx.shared<char>(4), ctx.shared<char>(), true);
                   }),
               std::logic_error);
}

}  // namespace
}  // namespace tome::cuda
