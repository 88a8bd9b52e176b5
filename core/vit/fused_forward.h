// The forward pass as a fixed sequence of fused operations on memory that is laid out beforehand:
// written once, for the GPU and for the host.
#pragma once

#include <cstdint>
#include <vector>

#include "merging/matching.h"
#include "vit/fused_ops.h"
#include "vit/fused_weights.h"

namespace tome {

/// What decides the sequence: requests with equal shapes share a plan, and on a GPU its graph.
struct FusedShape {
  int64_t batch = 1;
  int64_t joint_frames = 1;  ///< T of an image model run on a clip, else 1
  std::vector<int64_t> r;    ///< asked of each block; short lists end in zeros
  bool proportional = false;
  Partition partition = Partition::kAlternating;  ///< any but kRandom

  auto operator<=>(const FusedShape&) const = default;
};

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
  size_t workspace_bytes() const { return bytes_; }
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
  struct Layout {
    size_t x[2], norm, qkv, attention, hidden, embedded;
    size_t first_size, size[2], parity[2], a, b, target, from, to, member_begin, members, match;
    size_t pooled, pooled_norm;
  };
  /// Where the tokens are between two blocks.
  struct State {
    unsigned char* base;
    int64_t* source;
    int x = 0;                    // which of Layout::x
    const float* size = nullptr;  // null: ones
    int next_size = 0;            // which of Layout::size is free
    int parity = 0;               // which of Layout::parity
    bool tracked = false;
  };

  /// A row of keys' weights where sizes do not count: Note [Image models on clips].
  struct KeyWeights {
    float prefix = 1;  // 1: there is no row
    size_t at = 0;
  };

  void lay_out();
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
  void normalise(FusedOps& ops, const void* x, int64_t tokens, const FusedNorm& norm, double eps,
                 void* out, bool split_follows = false) const;
  void linear(FusedOps& ops, const FusedLinear& linear, const void* a, int64_t rows,
              const void* residual, void* out,
              ProductActivation activation = ProductActivation::kNone) const;
  /// Whether tokens' places in the clip matter.
  bool by_grid() const;

  const FusedWeights& weights_;
  FusedShape shape_;
  int64_t prefix_;
  std::vector<int64_t> r_, tokens_;  // tokens before each block, and after the last
  Layout at_{};
  std::vector<KeyWeights> key_weights_;  // of each block
  size_t bytes_ = 0;
};

}  // namespace tome
