// Runs the matching kernels on the host over ATen tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "cuda/executor/host_executor.h"
#include "merging/match_params.h"
#include "merging/matching.h"
#include "merging/partition.h"

namespace tome::testing {

struct KernelMatching {
  Matching matching;
  at::Tensor member_begin;  // int32 [B, tokens_out + 1]
  at::Tensor members;       // int32 [B, tokens]
  int launches = 0;
};

/// As images and clips merge: r, protected places and halves; the rest as it is by default.
MatchOptions merging(int64_t r, std::vector<int64_t> fixed = {0},
                     Partition partition = Partition::kAlternating);

/// For the kernels: lists that lie at `a` and `b`, or arithmetic halves where these are null.
cuda::HalvesView view_of(const Halves& halves, const MatchOptions& options, const int64_t* a,
                         const int64_t* b);

/// Of the sizes that options ask for, with -7 everywhere. options.r must be > 0 after its cap.
KernelMatching unfilled_plan(const at::Tensor& metric, const MatchOptions& options);

/// The matching kernels on metric [B, N, C] (float32, bfloat16, float16; last dimension contiguous)
/// with the halves that the CPU implementation would use. options.r must be > 0 after its cap.
KernelMatching match_with_kernels(const at::Tensor& metric, const MatchOptions& options,
                                  cuda::ThreadOrder order = cuda::ThreadOrder::kForwards);

/// Fails the current test unless the lists of members say what sources and target say.
void expect_members_match(const KernelMatching& m, int64_t sample);

/// Fails the current test unless tokens go where the plan's own edges put them.
void expect_right_targets(const Halves& halves, const MatchOptions& options,
                          const KernelMatching& m, int64_t sample);

/// Fails the current test unless the plan is right for each sample's keys (expect_right_matching).
void expect_right_plan(const at::Tensor& metric, const MatchOptions& options,
                       const KernelMatching& m, double tolerance);

}  // namespace tome::testing
