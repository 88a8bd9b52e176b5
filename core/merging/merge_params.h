// What the merge kernels are given.
#pragma once

#include "cuda/portable.h"
#include "merging/token_row.h"

namespace tome::cuda {

/// Combine of merge.h.
enum class MergeCombine { kWeightedMean, kMean, kMax, kKeepOne };

/// T is the type of the tokens, normalised or not.
template <class T>
struct MergeParams {
  const T* x = nullptr;                   ///< [batch, tokens_in, channels]
  const float* size = nullptr;            ///< [batch, tokens_in]; null: ones
  const int32_t* member_begin = nullptr;  ///< as in MatchOutputs; null: nothing merges
  const int32_t* members = nullptr;
  T* x_out = nullptr;                  ///< [batch, tokens_out, channels]; null: only the LayerNorm
  float* size_out = nullptr;           ///< [batch, tokens_out]; null: not wanted
  const uint8_t* parity = nullptr;     ///< [batch, tokens_in], of each token's place in the clip
  uint8_t* parity_out = nullptr;       ///< [batch, tokens_out]; null: not wanted
  const float* norm_weight = nullptr;  ///< [channels]
  const float* norm_bias = nullptr;    ///< [channels]
  T* norm_out = nullptr;               ///< [batch, tokens_out, channels]; null: no LayerNorm
  float norm_eps = 1e-6F;
  int batch = 0, tokens_in = 0, tokens_out = 0, channels = 0;
  MergeCombine combine = MergeCombine::kWeightedMean;
  bool split_follows = false;  ///< a LayerNorm alone then says launch_dependents
  RowShape shape;              ///< set by launch_merge
};

/// Sources on demand: place now of each of the tokens before block 0 (merge_source of merge.h).
struct SourceParams {
  const int64_t* source = nullptr;  ///< [batch, tokens_0]; null: the identity
  const int64_t* target = nullptr;  ///< [batch, tokens_in]
  int64_t* source_out = nullptr;    ///< [batch, tokens_0]; may be `source`
  int batch = 0, tokens_0 = 0, tokens_in = 0;
};

}  // namespace tome::cuda
