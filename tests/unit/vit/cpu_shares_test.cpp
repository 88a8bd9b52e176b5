// Into which items a product is cut.
#include "vit/cpu_shares.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tome {
namespace {

CpuKernels kernels_of(int64_t block_rows, int64_t panel) {
  CpuKernels kernels{};
  kernels.block_rows = block_rows;
  kernels.panel = panel;
  return kernels;
}

ProductArgs product_of(int64_t rows, int64_t steps, int64_t columns,
                       Epilogue epilogue = Epilogue::kStore) {
  ProductArgs args;
  args.rows = rows;
  args.steps = steps;
  args.columns = columns;
  args.epilogue = epilogue;
  return args;
}

TEST(CpuShares, PartsAreNearlyEqualAndLeaveNothingOut) {
  for (const int64_t count : {1, 7, 100}) {
    for (const int64_t parts : {1, 3, 7}) {
      EXPECT_EQ(share(count, 0, parts), 0);
      EXPECT_EQ(share(count, parts, parts), count);
      for (int64_t i = 0; i < parts; ++i) {
        const int64_t part = share(count, i + 1, parts) - share(count, i, parts);
        EXPECT_GE(part, count / parts);
        EXPECT_LE(part, (count + parts - 1) / parts);
      }
    }
  }
}

TEST(CpuShares, WeightsFitACoreInHalfOfItsCache) {
  EXPECT_TRUE(fit_a_core(512 << 10, 1 << 20));
  EXPECT_FALSE(fit_a_core((512 << 10) + 1, 1 << 20));
  EXPECT_GT(core_cache_bytes(), 0);
}

TEST(CpuShares, SmallWeightsLeaveRowsWithTheirThreads) {
  const CpuKernels kernels = kernels_of(14, 32);
  for (const int threads : {2, 3, 8}) {
    const ProductShares shares = share_out(kernels, product_of(1576, 32, 96), threads, true);
    EXPECT_TRUE(shares.resident);
    EXPECT_EQ(shares.groups, 1) << "each goes through all columns";
    EXPECT_EQ(shares.chunks % threads, 0) << "the same rows in every loop";
    EXPECT_GE(shares.chunks, 1576 / 32);
  }
  EXPECT_FALSE(share_out(kernels, product_of(1576, 32, 96), 2, false).resident);
  EXPECT_FALSE(share_out(kernels, product_of(27, 32, 96), 2, true).resident) << "too few rows";
  const int64_t columns = core_cache_bytes() / 4096;  // of 1024 steps: all of the cache
  EXPECT_FALSE(share_out(kernels, product_of(1576, 1024, columns), 2, true).resident);
}

TEST(CpuShares, ColumnsAreSharedInItemsEnoughForAllThreads) {
  const CpuKernels kernels = kernels_of(14, 32);
  for (const int threads : {1, 2, 8}) {
    for (const int64_t rows : {1, 14, 197, 5000}) {
      for (const int64_t steps : {64, 768, 3072}) {
        for (const Epilogue epilogue : {Epilogue::kStore, Epilogue::kAdd}) {
          const ProductShares shares =
              share_out(kernels, product_of(rows, steps, 768, epilogue), threads, false);
          EXPECT_GE(shares.groups, 1);
          EXPECT_LE(shares.groups, kernels.panels(768));
          EXPECT_GE(shares.chunks, 1);
          EXPECT_LE(shares.chunks, rows);
          EXPECT_GE(shares.chunks * shares.groups, 3 * threads);
          EXPECT_LE(
              (rows + shares.chunks - 1) / shares.chunks * std::min(steps, kMostPartSteps) * 4,
              640 << 10)
              << "a chunk stays in the cache";
        }
      }
    }
  }
}

}  // namespace
}  // namespace tome
