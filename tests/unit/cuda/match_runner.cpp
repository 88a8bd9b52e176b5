#include "cuda/match_runner.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "cuda/matching_oracle.h"
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
void run_match(const at::Tensor& metric, const MatchOptions& options, cuda::ThreadOrder order,
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
  const bool lists = options.partition != Partition::kAlternating;
  p.halves = view_of(halves, options, lists ? halves.a.data_ptr<int64_t>() : nullptr,
                     lists ? halves.b.data_ptr<int64_t>() : nullptr);
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

std::vector<int64_t> row_of(const at::Tensor& t, int64_t sample) {
  const at::Tensor row = t[t.size(0) == 1 ? 0 : sample].to(at::kLong).contiguous();
  return {row.data_ptr<int64_t>(), row.data_ptr<int64_t>() + row.numel()};
}

/// Without its keys.
MatchProblem problem_of(const Halves& halves, int64_t sample) {
  MatchProblem problem;
  problem.a = row_of(halves.a, sample);
  problem.b = row_of(halves.b, sample);
  return problem;
}

MatchAnswer answer_of(const KernelMatching& m, int64_t sample) {
  return {row_of(m.matching.source, sample), row_of(m.matching.destination, sample),
          row_of(m.matching.target, sample)};
}

}  // namespace

MatchOptions merging(int64_t r, std::vector<int64_t> fixed, Partition partition) {
  MatchOptions options;
  options.r = r;
  options.protected_tokens = std::move(fixed);
  options.partition = partition;
  return options;
}

cuda::HalvesView view_of(const Halves& halves, const MatchOptions& options, const int64_t* a,
                         const int64_t* b) {
  cuda::HalvesView view;
  view.n_a = static_cast<int>(halves.a.size(1));
  view.n_b = static_cast<int>(halves.b.size(1));
  view.n_fixed = static_cast<int>(options.protected_tokens.size());
  if (a == nullptr) {
    view.a_first = static_cast<int>(halves.a[0][0].item<int64_t>());
    view.b_first = static_cast<int>(halves.b[0][0].item<int64_t>());
    return view;
  }
  view.a = a;
  view.b = b;
  view.a_sample_stride = halves.a.size(0) == 1 ? 0 : view.n_a;
  view.b_sample_stride = halves.b.size(0) == 1 ? 0 : view.n_b;
  return view;
}

KernelMatching unfilled_plan(const at::Tensor& metric, const MatchOptions& options) {
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
  return out;
}

KernelMatching match_with_kernels(const at::Tensor& metric, const MatchOptions& options,
                                  cuda::ThreadOrder order) {
  KernelMatching out = unfilled_plan(metric, options);
  if (metric.scalar_type() == at::kFloat) {
    run_match<float>(metric, options, order, out);
  } else if (metric.scalar_type() == at::kBFloat16) {
    run_match<cuda::Bf16>(metric, options, order, out);
  } else {
    run_match<cuda::Half>(metric, options, order, out);
  }
  return out;
}

void expect_members_match(const KernelMatching& m, int64_t sample) {
  const auto target = row_of(m.matching.target, sample);
  const auto begin = row_of(m.member_begin, sample);
  const auto members = row_of(m.members, sample);
  const auto source = row_of(m.matching.source, sample);
  ASSERT_EQ(begin.front(), 0);
  ASSERT_EQ(begin.back(), m.matching.tokens_in);
  std::vector<int64_t> all = members;
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < m.matching.tokens_in; ++i) ASSERT_EQ(all[i], i) << "a token is missing";
  for (int64_t place = 0; place < m.matching.tokens_out; ++place) {
    ASSERT_LT(begin[place], begin[place + 1]);
    for (int64_t k = begin[place]; k < begin[place + 1]; ++k) {
      ASSERT_EQ(target[members[k]], place);
      const bool merged = std::count(source.begin(), source.end(), members[k]) != 0;
      EXPECT_EQ(merged, k > begin[place]) << "the kept token comes first";
      if (k > begin[place] + 1) {
        EXPECT_LT(members[k - 1], members[k]);
      }
    }
  }
}

void expect_right_targets(const Halves& halves, const MatchOptions& options,
                          const KernelMatching& m, int64_t sample) {
  expect_right_places(problem_of(halves, sample), options.protected_tokens, answer_of(m, sample));
}

void expect_right_plan(const at::Tensor& metric, const MatchOptions& options,
                       const KernelMatching& m, double tolerance) {
  const Halves halves = split_tokens(metric.size(0), metric.size(1), options);
  for (int64_t sample = 0; sample < metric.size(0); ++sample) {
    SCOPED_TRACE("sample " + std::to_string(sample));
    const at::Tensor keys = metric[sample].to(at::kDouble).contiguous();
    MatchProblem problem = problem_of(halves, sample);
    problem.keys.assign(keys.data_ptr<double>(), keys.data_ptr<double>() + keys.numel());
    problem.channels = static_cast<int>(keys.size(1));
    expect_right_matching(problem, options.protected_tokens, answer_of(m, sample), tolerance);
    expect_members_match(m, sample);
  }
}

}  // namespace tome::testing
