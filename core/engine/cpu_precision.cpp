#include "engine/cpu_precision.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/device.h"
#include "engine/log.h"
#include "engine/task.h"

namespace tome {
namespace {

constexpr double kWorthRounding = 0.9;

/// Milliseconds of a forward of one request.
double time_forward(const VisionTransformer& transformer, const at::Tensor& patches) {
  const TimePoint started = Clock::now();
  transformer.forward(patches);
  return milliseconds(Clock::now() - started);
}

/// The shortest of some forwards of two forms of a model, in turn, after one of each to warm up:
/// two of each, or up to nine where they take little time and are much alike.
std::pair<double, double> time_in_turn(const VisionTransformer& one, const VisionTransformer& other,
                                       int64_t frames) {
  const ViTConfig& config = one.config();
  const at::Tensor patches = at::zeros(
      {1, frames, config.grid_rows() * config.grid_cols(), 3 * config.patch * config.patch});
  const TimePoint started = Clock::now();
  time_forward(one, patches);
  time_forward(other, patches);
  std::pair best{time_forward(one, patches), time_forward(other, patches)};
  const auto alike = [&] {
    return best.first < 1.5 * best.second && best.second < 1.5 * best.first;
  };
  for (int run = 1; run < 9; ++run) {
    const bool long_enough = Clock::now() - started > std::chrono::seconds(1);
    if (run > 1 && (long_enough || !alike())) break;
    best.first = std::min(best.first, time_forward(one, patches));
    best.second = std::min(best.second, time_forward(other, patches));
  }
  return best;
}

}  // namespace

std::shared_ptr<const VisionTransformer> build_fastest_on_cpu(const Checkpoint& checkpoint,
                                                              int64_t frames) {
  const auto build = [&](at::ScalarType precision) {
    return std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights,
                                                     at::Device(at::kCPU), precision);
  };
  auto fp32 = build(at::kFloat);
  if (!cpu_has_native_bf16()) return fp32;
  auto bf16 = build(at::kBFloat16);
  const auto [fp32_ms, bf16_ms] = time_in_turn(*fp32, *bf16, frames);
  log(LogLevel::kInfo, "precision=auto: one forward of " + checkpoint.config.name + " takes " +
                           std::to_string(fp32_ms) + " ms in fp32, " + std::to_string(bf16_ms) +
                           " ms in bf16");
  // Where it gains little, its rounding is not worth it, nor that noise decides from run to run.
  return bf16_ms < kWorthRounding * fp32_ms ? bf16 : fp32;
}

}  // namespace tome
