// What the merge kernels are given.
#pragma once

#include "cuda/portable.h"
#include "merging/token_row.h"

namespace tome::cuda {

/// Combine of merge.h.
enum class MergeCombine { kWeightedMean, kMean, kMax, kKeepOne };

/// X is the type of the residual stream, Y that of the branch and of the normalised tokens.
template <class X, class Y>
struct MergeParams {
  const X* x = nullptr;                   ///< [batch, tokens_in, channels]
  const Y* branch = nullptr;              ///< same shape: what the residual add adds; null: nothing
  const float* branch_scale = nullptr;    ///< [channels], layer scale; null: 1
  const float* branch_bias = nullptr;     ///< [channels], added before the scale; null: 0
  const float* size = nullptr;            ///< [batch, tokens_in]; null: ones
  const int32_t* member_begin = nullptr;  ///< as in MatchOutputs; null: nothing merges
  const int32_t* members = nullptr;
  X* x_out = nullptr;                  ///< [batch, tokens_out, channels]; null: only the LayerNorm
  float* size_out = nullptr;           ///< [batch, tokens_out]; null: not wanted
  const uint8_t* parity = nullptr;     ///< [batch, tokens_in], of each token's place in the clip
  uint8_t* parity_out = nullptr;       ///< [batch, tokens_out]; null: not wanted
  const float* norm_weight = nullptr;  ///< [channels]
  const float* norm_bias = nullptr;    ///< [channels]
  Y* norm_out = nullptr;               ///< [batch, tokens_out, channels]; null: no LayerNorm
  float norm_eps = 1e-6F;
  int batch = 0, tokens_in = 0, tokens_out = 0, channels = 0;
  MergeCombine combine = MergeCombine::kWeightedMean;
  RowShape shape;     ///< set by launch_merge
  int staged_at = 0;  ///< where a stream's rows lie in shared memory; set by launch_merge
};

/// Sources on demand: place now of each of the tokens before block 0 (merge_source of merge.h).
struct SourceParams {
  const int64_t* source = nullptr;  ///< [batch, tokens_0]; null: the identity
  const int64_t* target = nullptr;  ///< [batch, tokens_in]
  int64_t* source_out = nullptr;    ///< [batch, tokens_0]; may be `source`
  int batch = 0, tokens_0 = 0, tokens_in = 0;
};

}  // namespace tome::cuda
