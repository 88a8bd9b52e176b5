// The clip partitions' kernel, run on the host, against the CPU implementation.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cuda/executor/host_executor.h"
#include "merging/partition.h"
#include "merging/partition_kernel.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

void expect_same_as_cpu(const at::Tensor& places, const std::vector<int64_t>& fixed,
                        Partition partition) {
  MatchOptions options;
  options.protected_tokens = fixed;
  options.partition = partition;
  options.places.tyx = places;
  const int64_t batch = places.size(0), tokens = places.size(1);
  const Halves expected = split_tokens(batch, tokens, options);
  for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
    const at::Tensor a = at::full_like(expected.a, -1), b = at::full_like(expected.b, -1);
    const at::Tensor sum = partition == Partition::kByFrame ? places.select(2, 0) : places.sum(2);
    const at::Tensor parity = sum.remainder(2).to(at::kByte).contiguous();
    cuda::PartitionParams p;
    p.parity = parity.data_ptr<uint8_t>();
    p.fixed = fixed.data();
    p.a = a.data_ptr<int64_t>();
    p.b = b.data_ptr<int64_t>();
    p.batch = static_cast<int>(batch);
    p.tokens = static_cast<int>(tokens);
    p.n_fixed = static_cast<int>(fixed.size());
    cuda::HostLauncher launcher(order);
    cuda::launch_partition(launcher, p);
    EXPECT_TRUE(at::equal(a, expected.a));
    EXPECT_TRUE(at::equal(b, expected.b));
  }
}

TEST(PartitionKernel, FullGridsSplitByParity) {
  const int64_t frames = 8, side = 14;
  const at::Tensor axis = at::arange(frames * side * side, at::kInt);
  const at::Tensor tyx = at::stack({axis.div(side * side, "floor"),
                                    axis.div(side, "floor").remainder(side), axis.remainder(side)},
                                   1)
                             .to(at::kInt)
                             .contiguous();
  for (const auto partition : {Partition::kByFrame, Partition::kCheckerboard}) {
    expect_same_as_cpu(tyx.unsqueeze(0), {}, partition);
    const at::Tensor with_class = at::cat({at::full({1, 3}, 7, at::kInt), tyx}).unsqueeze(0);
    expect_same_as_cpu(with_class, {0}, partition);
  }
}

TEST(PartitionKernel, AnyMixtureOfParitiesIsCutInHalves) {
  for (int64_t tokens = 1; tokens < 40; ++tokens) {
    at::manual_seed(static_cast<uint64_t>(tokens));
    const at::Tensor places = at::randint(0, 5, {3, tokens, 3}, at::kInt);
    expect_same_as_cpu(places, {}, Partition::kCheckerboard);
    if (tokens > 8) expect_same_as_cpu(places, {0, 3, 7}, Partition::kByFrame);
  }
  expect_same_as_cpu(at::ones({1, 301, 3}, at::kInt), {0}, Partition::kByFrame);
  expect_same_as_cpu(at::zeros({1, 301, 3}, at::kInt), {0}, Partition::kByFrame);
}

TEST(ClipGrid, ParityIsThatOfTheFrameOrOfAllCoordinates) {
  for (const int rows : {1, 2, 5}) {
    for (const int cols : {1, 4, 7}) {
      int patch = 0;
      for (int t = 0; t < 4; ++t) {
        for (int y = 0; y < rows; ++y) {
          for (int x = 0; x < cols; ++x, ++patch) {
            EXPECT_EQ((ClipGrid{rows, cols, GridParity::kFrame}.parity(patch)), t % 2);
            EXPECT_EQ((ClipGrid{rows, cols, GridParity::kCheckerboard}.parity(patch)),
                      (t + y + x) % 2);
          }
        }
      }
    }
  }
}

/// Every token's half, 0 for protected ones, 1 for A, 2 for B.
std::vector<int> halves_of(const cuda::HalvesView& view, int64_t tokens) {
  std::vector<int> half(static_cast<size_t>(tokens), 0);
  for (int i = 0; i < view.n_a; ++i) half.at(static_cast<size_t>(view.a_token(0, i))) += 1;
  for (int i = 0; i < view.n_b; ++i) half.at(static_cast<size_t>(view.b_token(0, i))) += 2;
  return half;
}

TEST(HalvesView, ArithmeticHalvesAreThoseOfTheLists) {
  for (const auto partition : {Partition::kAlternating, Partition::kSequential}) {
    for (int64_t prefix = 0; prefix < 4; ++prefix) {
      for (int64_t tokens = prefix + 1; tokens < prefix + 9; ++tokens) {
        MatchOptions options;
        options.partition = partition;
        for (int64_t i = 0; i < prefix; ++i) options.protected_tokens.push_back(i);
        const Halves lists = split_tokens(1, tokens, options);
        std::vector<int> expected(static_cast<size_t>(tokens), 0);
        for (int64_t i = 0; i < lists.a.numel(); ++i) {
          expected.at(static_cast<size_t>(lists.a[0][i].item<int64_t>())) = 1;
        }
        for (int64_t i = 0; i < lists.b.numel(); ++i) {
          expected.at(static_cast<size_t>(lists.b[0][i].item<int64_t>())) = 2;
        }
        EXPECT_EQ(halves_of(halves_view(partition, prefix, tokens), tokens), expected)
            << tokens << " tokens, " << prefix << " protected";
      }
    }
  }
  EXPECT_THROW(halves_view(Partition::kRandom, 1, 9), Error);
}

}  // namespace
}  // namespace tome::testing
