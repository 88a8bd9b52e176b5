// The CPU's own forward: the same arithmetic as VisionTransformer::forward in kernels of ours, for
// what users run. Everything else (training, traces, other ways to match) stays with LibTorch's
// operators.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "merging/matching.h"
#include "vit/config.h"
#include "vit/cpu_kernels.h"
#include "vit/cpu_weights.h"

namespace tome {

struct CpuWorkspace;

/// One forward. Outputs are the caller's memory.
struct CpuRun {
  const float* patches = nullptr;  ///< [batch, frames, patches of a frame, 3 * p * p]
  int64_t batch = 1, frames = 1;
  std::span<const int64_t> r;  ///< effective, of each block
  bool proportional = true;
  Partition partition = Partition::kAlternating;  ///< any but kRandom
  int threads = 1;
  /// Merges before block 0, as Matching::target: [batch, tokens], or null.
  const int64_t* static_target = nullptr;
  int64_t static_tokens = 0;  ///< tokens after it

  float* logits = nullptr;    ///< [batch, classes]
  float* size = nullptr;      ///< [batch, tokens out], or null
  int64_t* source = nullptr;  ///< [batch, tokens in], or null
};

class CpuForward {
 public:
  /// A pass lists them on its stack.
  static constexpr int64_t kMostPrefixTokens = 64;

  /// Null where this processor or this model needs LibTorch's operators.
  static std::unique_ptr<CpuForward> make(const ViTConfig& config, const ViTWeights& weights,
                                          ProductType type);
  /// @param bytes  the blocks' products in 8 bits, see Note [Products in 8 bits]
  /// @throws Error kFailed if the model has more than kMostPrefixTokens, or sizes that are no whole
  ///   steps of the kernels, or there are no products in 8 bits
  CpuForward(const ViTConfig& config, const ViTWeights& weights, const CpuKernels& kernels,
             bool bytes = false);
  ~CpuForward();

  /// May run on several threads at once. Allocates nothing once it has run with as large a batch,
  /// as many tokens and as many threads, as often at the same time.
  void run(const CpuRun& run) const;

 private:
  std::unique_ptr<CpuWorkspace> take_workspace(const CpuRun& run) const;

  ViTConfig config_;
  const CpuKernels& kernels_;
  bool bytes_;
  CpuWeights weights_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<CpuWorkspace>> idle_;
};

}  // namespace tome
