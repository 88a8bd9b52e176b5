#include "bench_group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>

namespace tome::cli {
namespace {

double time_ms(const std::function<at::Tensor()>& run, at::Tensor& logits) {
  const auto start = std::chrono::steady_clock::now();
  // The copy waits for a device that works in the background.
  logits = run().to(at::kCPU, at::kFloat);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

void measure(Group& group, int64_t warmup, int64_t repeats) {
  for (int64_t round = -warmup; round < repeats; ++round) {
    for (Contender& contender : group.contenders) {
      CpuProfile::current() = round >= 0 ? contender.profile.get() : nullptr;
      const double ms = time_ms(contender.run, contender.logits);
      CpuProfile::current() = nullptr;
      if (round >= 0) contender.ms.push_back(ms);
    }
  }
  for (Contender& contender : group.contenders) std::sort(contender.ms.begin(), contender.ms.end());
}

}  // namespace tome::cli
