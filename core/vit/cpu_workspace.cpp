#include "vit/cpu_workspace.h"

#include <algorithm>

namespace tome {
namespace {

constexpr int64_t kLine = 64;

/// Rows begin a cache line later than their length says: rows at equal places of the cache would
/// displace each other.
int64_t spread(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine + kLine; }

}  // namespace

CpuWorkspace::CpuWorkspace(const CpuExtent& wanted, const ViTConfig& config,
                           const CpuKernels& kernels, bool in_bytes)
    : extent(wanted),
      x_stride(spread(config.dim * 4)),
      narrow_stride(spread(kernels.steps(config.dim) * 4)),
      pooled_stride(spread(config.head_inputs() * 4)),
      head_stride(spread(kernels.steps(config.head_inputs()) * 4)) {
  const int64_t batch = extent.batch;
  const int64_t tokens = extent.tokens;
  const int64_t rows = batch * tokens;
  const int64_t head_dim = config.dim / config.heads;
  const int64_t patch_row = config.tubelet * config.channels * config.patch * config.patch;
  wide_stride = spread(kernels.steps(std::max({3 * config.dim, config.mlp_hidden, patch_row})) * 4);
  x = CpuBuffer(rows * x_stride);
  x_out = CpuBuffer(rows * x_stride);
  narrow = CpuBuffer(rows * narrow_stride);
  wide = CpuBuffer(rows * wide_stride);
  if (in_bytes) {
    byte_stride = spread(std::max(config.dim, config.mlp_hidden));
    bytes = CpuBuffer(rows * byte_stride);
    byte_rows.resize(static_cast<size_t>(rows));
  }

  const int64_t heads = std::min(batch * config.heads, most_packed_heads(extent.threads));
  packed_stride = spread(kernels.packed_head_bytes(tokens, head_dim));
  packed = CpuBuffer(std::max<int64_t>(heads, extent.threads) * packed_stride);
  scratch_stride = spread(std::max(kernels.attend_scratch_bytes(tokens),
                                   kernels.partner_scratch_bytes(tokens, head_dim)));
  scratch = CpuBuffer(extent.threads * scratch_stride);
  pooled = CpuBuffer(2 * batch * pooled_stride);
  head_rows = CpuBuffer(2 * batch * head_stride);
  other_logits = CpuBuffer(batch * config.classes * 4);

  padded_tokens = kernels.padded(tokens);
  const auto biases = static_cast<size_t>(batch * padded_tokens);
  key_bias.resize(biases);
  key_bias_out.resize(biases);
  const auto n = static_cast<size_t>(tokens);
  samples.resize(static_cast<size_t>(batch));
  for (SampleTokens& sample : samples) {
    for (auto* floats : {&sample.size, &sample.size_out, &sample.score, &sample.largest})
      floats->resize(n);
    for (auto* places : {&sample.target, &sample.a, &sample.b}) places->resize(n);
    for (auto* indices : {&sample.members, &sample.order, &sample.best}) indices->resize(n);
    for (auto* parities : {&sample.parity, &sample.parity_out}) parities->resize(n);
    sample.first.resize(n + 1);
  }
}

}  // namespace tome
