#include "vit/cpu_forward.h"

#include <algorithm>
#include <string>
#include <utility>

#include "tome_error.h"
#include "vit/cpu_pass.h"
#include "vit/cpu_profile.h"
#include "vit/cpu_team.h"
#include "vit/cpu_workspace.h"
#include "vit/first_tokens.h"

namespace tome {
namespace {

/// Of bfloat16, which are pairs.
bool has_whole_steps(const ViTConfig& config) {
  const int64_t head_dim = config.dim / config.heads;
  return head_dim % 2 == 0 && config.mlp_hidden % 2 == 0 &&
         config.channels * config.patch * config.patch % 2 == 0;
}

/// Why the kernels cannot run a model, or null.
const char* obstacle(const ViTConfig& config, const CpuKernels& kernels, bool bytes) {
  if (bytes && kernels.bytes == nullptr) return "no products of bytes";
  if (config.prefix_tokens() > CpuForward::kMostPrefixTokens) return "too many prefix tokens";
  return !kernels.bf16 || has_whole_steps(config) ? nullptr
                                                  : "sizes that are no whole steps of bfloat16";
}

const ViTConfig& checked(const ViTConfig& config, const CpuKernels& kernels, bool bytes) {
  if (const char* found = obstacle(config, kernels, bytes)) {
    throw Error(ErrorKind::kFailed,
                std::string("CpuForward: found ") + found + ", expected a model for " +
                    kernels.name + " with at most " +
                    std::to_string(CpuForward::kMostPrefixTokens) + " prefix tokens");
  }
  return config;
}

}  // namespace

std::unique_ptr<CpuForward> CpuForward::make(const ViTConfig& config, const ViTWeights& weights,
                                             ProductType type) {
  const CpuKernels* kernels = best_cpu_kernels(type, has_whole_steps(config));
  const bool bytes = type == ProductType::kInt8;
  if (kernels == nullptr || obstacle(config, *kernels, bytes) != nullptr) return nullptr;
  return std::make_unique<CpuForward>(config, weights, *kernels, bytes);
}

CpuForward::CpuForward(const ViTConfig& config, const ViTWeights& weights,
                       const CpuKernels& kernels, bool bytes)
    : config_(checked(config, kernels, bytes)),
      kernels_(kernels),
      bytes_(bytes),
      weights_(config, weights, kernels, bytes) {}

CpuForward::~CpuForward() = default;

CpuProfile*& CpuProfile::current() {
  thread_local CpuProfile* profile = nullptr;
  return profile;
}

std::unique_ptr<CpuWorkspace> CpuForward::take_workspace(const CpuRun& run) const {
  CpuExtent extent{run.batch, FirstTokens(config_, run.frames).count(), run.threads};
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = idle_.size(); i-- > 0;) {
      if (!idle_[i]->extent.holds(extent)) continue;
      auto found = std::move(idle_[i]);
      idle_.erase(idle_.begin() + static_cast<int64_t>(i));
      return found;
    }
    // One that is too small makes room for its successor, which holds what it held, unless that is
    // far more than either: large batches of frames and one long clip.
    if (!idle_.empty()) {
      const CpuExtent old = idle_.back()->extent;
      const CpuExtent both{std::max(extent.batch, old.batch), std::max(extent.tokens, old.tokens),
                           std::max(extent.threads, old.threads)};
      if (both.rows() <= 2 * std::max(extent.rows(), old.rows())) extent = both;
      idle_.pop_back();
    }
  }
  return std::make_unique<CpuWorkspace>(extent, config_, kernels_, bytes_);
}

void CpuForward::run(const CpuRun& run) const {
  std::unique_ptr<CpuWorkspace> work = take_workspace(run);
  {
    LentTeam team(run.threads);
    CpuPass(config_, weights_, kernels_, run, *work, *team).forward();
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(work));
}

}  // namespace tome
