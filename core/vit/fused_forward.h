// The forward pass as a fixed sequence of fused operations on memory that is laid out beforehand:
// written once, for the GPU and for the host.
#pragma once

#include <cstdint>
#include <vector>

#include "vit/fused_layout.h"
#include "vit/fused_ops.h"
#include "vit/fused_weights.h"

namespace tome {

/// Note [The fused forward]
/// A block that merges is eight launches: the QKV product with the metric's columns; matching,
/// which needs nothing else and so runs beside attention; attention with token sizes; the
/// projection with bias and residual; merge and LayerNorm in one pass; fc1 with bias and GELU; fc2
/// with bias and residual; the next LayerNorm. The partitions that know a clip's grid need one
/// launch more, beside the LayerNorm that ends the block before: it lists the halves by the parity
/// of the tokens' places, which the embedding writes and each merge hands on. Everything equals
/// VisionTransformer::forward with keys, cosine and weighted mean up to rounding: 16-bit products
/// end in GELU's tanh form, which differs from the exact one by less than 5e-4.
class FusedForward {
 public:
  /// @param weights  outlives the plan
  /// @throws Error kSettings for a random partition
  FusedForward(const FusedWeights& weights, FusedShape shape);

  /// Scratch memory of a run, 256-byte aligned; its content before and after does not matter.
  size_t workspace_bytes() const { return at_.bytes; }
  int64_t tokens_in() const { return tokens_.front(); }
  int64_t tokens_out() const { return tokens_.back(); }
  /// Merged in each block.
  const std::vector<int64_t>& r() const { return r_; }
  const FusedShape& shape() const { return shape_; }
  /// Of one request: rows of patches (or tubelets), elements of a row.
  int64_t patch_rows() const { return tokens_.front() - prefix_; }
  int64_t patch_columns() const { return weights_.patch_embed.in; }

  /// @param patches  [batch, patch_rows, patch_columns] in the weights' type: tubelets_of (model.h)
  /// @param logits   out, float32 [batch, classes]
  /// @param source   out, int64 [batch, tokens_in], place of each first token at the end; null: not
  ///   wanted
  void run(FusedOps& ops, const void* patches, void* workspace, float* logits,
           int64_t* source = nullptr) const;

 private:
  /// Where the tokens are between two blocks.
  struct State {
    unsigned char* base;
    int64_t* source;
    int x = 0;                    // which of FusedLayout::x
    const float* size = nullptr;  // null: ones
    int next_size = 0;            // which of FusedLayout::size is free
    int parity = 0;               // which of FusedLayout::parity
    bool tracked = false;
  };

  int qkv_columns(size_t block) const;
  void write_key_weights(FusedOps& ops, const State& state, const void* patches) const;
  void embed(FusedOps& ops, State& state, const void* patches) const;
  void run_block(FusedOps& ops, State& state, size_t block) const;
  cuda::HalvesView halves_of(const State& state, size_t block) const;
  /// Writes the lists of a block's halves where they are not arithmetic.
  void split(FusedOps& ops, const State& state, size_t block, cuda::LaunchOrder order) const;
  void match(FusedOps& ops, const State& state, size_t block) const;
  void attend(FusedOps& ops, const State& state, size_t block) const;
  bool splits(size_t block) const;  ///< whether its halves are listed
  void merge(FusedOps& ops, State& state, size_t block) const;
  void classify(FusedOps& ops, const State& state, float* logits) const;
  cuda::PoolRequest pool_request(const State& state) const;
  /// Pools, normalises the result if asked, and gives where it is.
  const void* pool(FusedOps& ops, const State& state, const cuda::PoolRequest& request,
                   const FusedNorm* norm, double eps) const;
  /// @param add  to what `logits` holds
  void head(FusedOps& ops, const FusedLinear& linear, const void* pooled, float* logits,
            bool add) const;
  void normalise(FusedOps& ops, const void* x, int64_t tokens, const FusedNorm& norm, double eps,
                 void* out, bool split_follows = false) const;
  ProductRequest product_of(const FusedLinear& linear, const void* a, int64_t rows) const;
  void linear(FusedOps& ops, const FusedLinear& linear, const void* a, int64_t rows,
              const void* residual, void* out,
              ProductActivation activation = ProductActivation::kNone) const;
  /// Whether tokens' places in the clip matter.
  bool by_grid() const;

  const FusedWeights& weights_;
  FusedShape shape_;
  int64_t prefix_;
  std::vector<int64_t> r_, tokens_;  // tokens before each block, and after the last
  FusedLayout at_;
};

}  // namespace tome
