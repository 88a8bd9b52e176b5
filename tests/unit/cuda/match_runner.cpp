#include "cuda/match_runner.h"

#include <ATen/ATen.h>

#include "merging/match_launch.h"
#include "merging/partition.h"
#include "merging/schedule.h"

namespace tome::testing {
namespace {

static_assert(static_cast<int>(cuda::KeySimilarity::kCosine) ==
              static_cast<int>(Similarity::kCosine));
static_assert(static_cast<int>(cuda::KeySimilarity::kDot) == static_cast<int>(Similarity::kDot));
static_assert(static_cast<int>(cuda::KeySimilarity::kEuclidean) ==
              static_cast<int>(Similarity::kEuclidean));

template <class T>
void run(const at::Tensor& metric, const MatchOptions& options, cuda::ThreadOrder order,
         KernelMatching& out) {
  const Halves halves = split_tokens(metric.size(0), metric.size(1), options);
  cuda::MatchParams<T> p;
  p.metric = static_cast<const T*>(metric.data_ptr());
  p.sample_stride = metric.stride(0);
  p.token_stride = metric.stride(1);
  p.batch = static_cast<int>(metric.size(0));
  p.tokens = static_cast<int>(metric.size(1));
  p.channels = static_cast<int>(metric.size(2));
  p.r = static_cast<int>(out.matching.r());
  p.similarity = static_cast<cuda::KeySimilarity>(options.similarity);
  p.halves.n_a = static_cast<int>(halves.a.size(1));
  p.halves.n_b = static_cast<int>(halves.b.size(1));
  p.halves.n_fixed = static_cast<int>(options.protected_tokens.size());
  if (options.partition == Partition::kAlternating) {  // arithmetic halves
    p.halves.a_first = static_cast<int>(halves.a[0][0].item<int64_t>());
    p.halves.b_first = static_cast<int>(halves.b[0][0].item<int64_t>());
  } else {
    p.halves.a = halves.a.data_ptr<int64_t>();
    p.halves.b = halves.b.data_ptr<int64_t>();
    p.halves.a_sample_stride = halves.a.size(0) == 1 ? 0 : p.halves.n_a;
    p.halves.b_sample_stride = halves.b.size(0) == 1 ? 0 : p.halves.n_b;
  }
  p.halves.fixed = options.protected_tokens.data();
  p.out = {out.matching.target.data_ptr<int64_t>(), out.matching.source.data_ptr<int64_t>(),
           out.matching.destination.data_ptr<int64_t>(), out.member_begin.data_ptr<int32_t>(),
           out.members.data_ptr<int32_t>()};
  const size_t bytes = cuda::lay_out_match_scratch(nullptr, p.batch, p.halves.n_a, p.r, &p.scratch);
  const at::Tensor scratch = at::full({static_cast<int64_t>(bytes)}, 0xff, at::kByte);
  cuda::lay_out_match_scratch(scratch.data_ptr<uint8_t>(), p.batch, p.halves.n_a, p.r, &p.scratch);
  std::fill_n(p.scratch.arrived, p.batch, 0U);
  cuda::HostLauncher launcher(order);
  cuda::launch_match(launcher, p);
  out.launches = launcher.launches();
  for (int i = 0; i < p.batch; ++i) {
    TORCH_CHECK(p.scratch.arrived[i] == 0, "counters must be ready for the next replay");
  }
}

}  // namespace

KernelMatching match_with_kernels(const at::Tensor& metric, const MatchOptions& options,
                                  cuda::ThreadOrder order) {
  const int64_t batch = metric.size(0), tokens = metric.size(1);
  const auto fixed = static_cast<int64_t>(options.protected_tokens.size());
  const Halves halves = split_tokens(batch, tokens, options);
  const int64_t r = std::min(capped_r(options.r, tokens, fixed), halves.a.size(1));
  TORCH_CHECK(r > 0 && halves.b.size(1) > 0, "nothing to match");
  KernelMatching out;
  out.matching.tokens_in = tokens;
  out.matching.tokens_out = tokens - r;
  out.matching.target = at::full({batch, tokens}, -7, at::kLong);
  out.matching.source = at::full({batch, r}, -7, at::kLong);
  out.matching.destination = at::full({batch, r}, -7, at::kLong);
  out.member_begin = at::full({batch, tokens - r + 1}, -7, at::kInt);
  out.members = at::full({batch, tokens}, -7, at::kInt);
  if (metric.scalar_type() == at::kFloat) {
    run<float>(metric, options, order, out);
  } else if (metric.scalar_type() == at::kBFloat16) {
    run<cuda::Bf16>(metric, options, order, out);
  } else {
    run<cuda::Half>(metric, options, order, out);
  }
  return out;
}

}  // namespace tome::testing
