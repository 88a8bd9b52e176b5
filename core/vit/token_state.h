// What travels with the tokens through the blocks: how many patches each stands for, where it lies,
// and where each input token went.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "vit/config.h"
#include "vit/first_tokens.h"
#include "vit/model.h"

namespace tome {

class TokenState {
 public:
  TokenState(const ViTConfig& config, int64_t batch, const FirstTokens& first, bool proportional,
             at::Device device);

  /// float32 [B, N]: what attention adds to the scores of each key; undefined if nothing.
  at::Tensor log_weight() const;

  /// Merges `asked` tokens (capped) and keeps count. x [B, N, dim] -> [B, N', dim].
  /// @param metric  [B, N, C]; for kAttentionPrune the tokens' importance, [B, N, 1]
  at::Tensor merge(const at::Tensor& x, const at::Tensor& metric, int64_t asked,
                   const ForwardOptions& options, int64_t block);

  /// Before block 0: merges tubelets that do not change, see match_static_runs.
  /// @param tubelets  float32 [B, T, n, k], normalised pixels
  at::Tensor merge_static(const at::Tensor& x, const at::Tensor& tubelets,
                          const ForwardOptions& options);

  /// Mean over the patch tokens [B, N, dim] -> [B, dim], weighted by size if asked.
  at::Tensor mean_of_patches(const at::Tensor& x, bool weighted) const;

  bool merged() const { return size_.defined(); }
  at::Tensor sizes() const;   ///< float32 [B, N]
  at::Tensor source() const;  ///< int64 [B, N0]

 private:
  Partition partition(const ForwardOptions& options) const;
  at::Tensor apply(const at::Tensor& x, const Matching& matching, const ForwardOptions& options);
  Matching match(const at::Tensor& metric, const MatchOptions& match, MergeMethod method) const;
  void move_places(const Matching& matching, const at::Tensor& old_size);

  int64_t batch_;
  FirstTokens first_;
  int64_t prefix_, tokens_;
  int64_t rows_, cols_;
  bool proportional_;
  Partition default_partition_;
  at::Device device_;
  std::vector<int64_t> protected_;
  at::Tensor size_;    // undefined while every token is one patch
  at::Tensor source_;  // undefined: identity
  at::Tensor places_;  // int32 [B, N, 3] on the CPU; made when a partition asks
};

}  // namespace tome
