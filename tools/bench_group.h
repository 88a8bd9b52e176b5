// What `tome bench` times in turns.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda_model.h"
#include "vit/cpu_profile.h"

namespace tome::cli {

/// One way to run one batch; timed in turns with the others of its group.
struct Contender {
  std::string engine;  ///< "tome", or "torch" for plain PyTorch operations
  std::string spec;
  std::vector<int64_t> effective;
  std::function<at::Tensor()> run;                         ///< gives logits
  std::function<std::vector<OperationTime>()> operations;  ///< empty where there are none
  bool fused = false;                                      ///< our own CUDA kernels, as a graph
  double gflops = 0;                                       ///< of one input
  int64_t tokens_last = 0;
  std::vector<double> ms;
  at::Tensor logits;
  std::shared_ptr<CpuProfile> profile;  ///< null: not asked for

  double median() const {
    const size_t half = ms.size() / 2;
    return ms.size() % 2 == 1 ? ms[half] : (ms[half - 1] + ms[half]) / 2;
  }
};

/// Contenders of one precision and batch size. The first is ours without merging.
struct Group {
  std::string precision;
  int64_t batch = 1;
  std::vector<Contender> contenders;
};

/// Rounds of one run each, so that a machine that slows down or is shared slows all of them. The
/// first `warmup` do not count.
void measure(Group& group, int64_t warmup, int64_t repeats);

}  // namespace tome::cli
