// The fused forward's operations on the host: the shipped kernel bodies on the host executor,
// products by ATen.
#pragma once

#include <functional>
#include <vector>

#include "cuda/executor/host_executor.h"
#include "vit/fused_forward.h"

namespace tome::testing {

/// What may run beside other operations runs at once, or as late as it may.
enum class SideOrder { kEarly, kLate };

/// Of 16-bit types: by tiles of a warp, or by warpgroups, as devices of compute capability 9.0 do.
enum class AttentionWay { kTiles, kGroups };

class HostOps : public FusedOps {
 public:
  explicit HostOps(SideOrder side = SideOrder::kEarly, AttentionWay way = AttentionWay::kTiles,
                   cuda::ThreadOrder order = cuda::ThreadOrder::kForwards)
      : side_(side), way_(way), launcher_(order) {}

  void product(const ProductRequest& request) override;
  void embed(const cuda::EmbedRequest& request) override;
  void attend(const cuda::AttentionRequest& request, cuda::LaunchOrder order) override;
  void merge(const cuda::MergeRequest& request) override;
  void pool(const cuda::PoolRequest& request) override;
  void sources(const cuda::SourceParams& request) override;
  void clear(void* memory, size_t bytes) override;
  void split(const cuda::PartitionParams& request, cuda::LaunchOrder order) override;
  void fork() override;
  void match(const cuda::MatchRequest& request) override;
  void join() override;

  int products = 0;
  int launches() const { return launcher_.launches(); }

 private:
  enum class Last { kOther, kMatch, kNorm };
  /// Before each operation: runs a LayerNorm that was held back for a split beside it.
  void begin(Last operation = Last::kOther);
  void expect_last(Last operation, cuda::LaunchOrder order) const;
  /// The next launch is one that may run beside the last, which has not been held back.
  void launch_next(cuda::LaunchOrder order) {
    if (side_ == SideOrder::kEarly) launcher_.next(order);
  }
  /// See Note [A kernel beside the one before it]; of the last launch.
  void expect_launched() const;
  void expect_waited() const;

  SideOrder side_;
  AttentionWay way_;
  bool forked_ = false;
  Last last_ = Last::kOther;
  std::function<void()> held_back_, waiting_;  ///< a LayerNorm; a matching
  cuda::HostLauncher launcher_;
};

/// What a fused forward gives, and what it is made of.
struct HostForward {
  at::Tensor logits;  // float32 [B, classes]
  at::Tensor source;  // int64 [B, tokens]
  std::vector<int64_t> r;
  int launches = 0, products = 0;
};

/// @param patches  float32 [B, T, n, 3 p p], as VisionTransformer::forward takes them
HostForward run_fused(const ViTConfig& config, const ViTWeights& weights, const at::Tensor& patches,
                      const std::vector<int64_t>& r, bool proportional, cuda::ElementType type,
                      SideOrder side = SideOrder::kEarly,
                      Partition partition = Partition::kAlternating,
                      AttentionWay way = AttentionWay::kTiles,
                      cuda::ThreadOrder order = cuda::ThreadOrder::kForwards);

}  // namespace tome::testing
