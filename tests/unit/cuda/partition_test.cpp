// The clip partitions' kernel, run on the host, against the CPU implementation.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cuda/host_executor.h"
#include "merging/partition.h"
#include "merging/partition_kernel.h"

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
    cuda::PartitionParams p;
    p.places = places.data_ptr<int32_t>();
    p.fixed = fixed.data();
    p.a = a.data_ptr<int64_t>();
    p.b = b.data_ptr<int64_t>();
    p.batch = static_cast<int>(batch);
    p.tokens = static_cast<int>(tokens);
    p.n_fixed = static_cast<int>(fixed.size());
    p.parity = partition == Partition::kByFrame ? cuda::GridParity::kFrame
                                                : cuda::GridParity::kCheckerboard;
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

}  // namespace
}  // namespace tome::testing
