// The operations of which the fused forward is made. What implements them decides where it runs: on
// a CUDA device (fused_cuda.h), or, in tests, on the host with the same kernel bodies.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/types.h"
#include "merging/match_cuda.h"
#include "merging/merge_cuda.h"
#include "merging/partition_cuda.h"
#include "vit/attention_cuda.h"
#include "vit/embed_cuda.h"

namespace tome {

/// kGelu is exact (erf); a 16-bit product on a GPU offers kGeluTanh alone.
enum class ProductActivation { kNone, kGelu, kGeluTanh, kRelu };

/// out[i, j] = activation(sum_l a[i, l] weight[j, l] + bias[j]) + residual[i, j], sums in float32,
/// partial ones too.
struct ProductRequest {
  cuda::ElementType type = cuda::ElementType::kBfloat16;      ///< of a and weight
  cuda::ElementType out_type = cuda::ElementType::kBfloat16;  ///< of out, bias and residual
  const void* a = nullptr;         ///< [rows, depth], rows a_stride elements apart
  const void* weight = nullptr;    ///< [columns, depth], contiguous
  const void* bias = nullptr;      ///< [columns]; null: none
  const void* residual = nullptr;  ///< as out, and may be out; null: none
  void* out = nullptr;             ///< [rows, columns], rows out_stride elements apart
  int64_t a_stride = 0, out_stride = 0;
  int64_t rows = 0, columns = 0, depth = 0;
  ProductActivation activation = ProductActivation::kNone;  ///< not together with a residual
};

/// Operations run in the order in which they are called, with two exceptions: what is matched
/// between `fork` and `join` may run beside what else is called there, and what is called with
/// kBesideLast beside the operation before it. None allocates or waits, so that a CUDA graph can be
/// captured from a whole forward.
/// @throws Error of each operation
class FusedOps {
 public:
  virtual ~FusedOps() = default;
  virtual void product(const ProductRequest& request) = 0;
  virtual void embed(const cuda::EmbedRequest& request) = 0;
  /// kBesideLast: right after `match`.
  virtual void attend(const cuda::AttentionRequest& request, cuda::LaunchOrder order) = 0;
  virtual void merge(const cuda::MergeRequest& request) = 0;
  virtual void pool(const cuda::PoolRequest& request) = 0;
  virtual void sources(const cuda::SourceParams& request) = 0;
  virtual void clear(void* memory, size_t bytes) = 0;

  /// kBesideLast: right after a LayerNorm that says that a split follows.
  virtual void split(const cuda::PartitionParams& request, cuda::LaunchOrder order) = 0;

  /// Between these, `match` may run beside what else is called; `attend` must come directly after
  /// it.
  virtual void fork() = 0;
  virtual void match(const cuda::MatchRequest& request) = 0;
  virtual void join() = 0;
};

}  // namespace tome
