#include "vit/cpu_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace tome {

template <class Token>
void CpuPass::pool_patches(int64_t b, const Token& token, float* mean) {
  const bool weighted = config_.weighted_pool;
  const std::vector<float>& size = work_.samples[static_cast<size_t>(b)].size;
  auto* row = work_.x_out.at<float>(b * work_.x_stride);
  float total = 0;
  std::fill_n(mean, config_.dim, 0.0F);
  for (int64_t i = prefix_; i < tokens_; ++i) {
    token(i, row);
    const float weight = weighted ? size[static_cast<size_t>(i)] : 1.0F;
    total += weight;
    for (int64_t c = 0; c < config_.dim; ++c) mean[c] += weight * row[c];
  }
  for (int64_t c = 0; c < config_.dim; ++c) mean[c] /= total;
}

void CpuPass::pool(int64_t b, float* pooled, float* second) {
  NormArgs args = norm_args(weights_.norm, config_.norm_eps);
  args.out_stride = work_.x_stride;
  const auto token = [&](int64_t i, float* out) {
    args.out = out;
    args.x = x_row(b * tokens_ + i);
    if (config_.final_norm) {
      kernels_.normalise_float(args, 0, 1);
    } else {
      std::copy_n(args.x, config_.dim, out);
    }
  };
  if (config_.distilled_head) token(1, second);
  if (config_.pooling != Pooling::kMean) token(0, pooled);
  if (config_.pooling != Pooling::kToken) {
    pool_patches(b, token, pooled + config_.head_inputs() - config_.dim);
  }
  if (!config_.fc_norm) return;
  args = norm_args(weights_.fc_norm, config_.fc_norm_eps);
  args.x = pooled;
  args.out = pooled;
  args.out_stride = work_.x_stride;
  kernels_.normalise_float(args, 0, 1);
}

void CpuPass::classify() {
  const int64_t batch = run_.batch;
  team_.for_each(batch, [&](int64_t b, int) {
    auto* pooled = work_.pooled.at<float>(b * work_.pooled_stride);
    auto* second = work_.pooled.at<float>((batch + b) * work_.pooled_stride);
    pool(b, pooled, second);
    kernels_.to_elements(pooled, config_.head_inputs(), work_.head_rows.at(b * work_.head_stride));
    if (!config_.distilled_head) return;
    kernels_.to_elements(second, config_.dim, work_.head_rows.at((batch + b) * work_.head_stride));
  });
  head(weights_.head, 0, run_.logits);
  if (!config_.distilled_head) return;
  head(weights_.head_dist, batch, work_.other_logits.at<float>());
  for (int64_t i = 0; i < batch * config_.classes; ++i) {
    run_.logits[i] = (run_.logits[i] + work_.other_logits.at<float>()[i]) / 2;
  }
}

void CpuPass::head(const CpuLinear& layer, int64_t first_row, float* logits) {
  ProductArgs args;
  args.a = work_.head_rows.at(first_row * work_.head_stride);
  args.a_stride = work_.head_stride;
  args.rows = run_.batch;
  args.b = layer.packed.at();
  args.steps = layer.steps;
  args.columns = layer.columns;
  args.bias = layer.bias.data();
  args.epilogue = Epilogue::kFloat;
  args.out = logits;
  args.out_stride = layer.columns * 4;
  product(args);
}

void CpuPass::write_sizes() {
  for (int64_t b = 0; run_.size != nullptr && b < run_.batch; ++b) {
    std::copy_n(work_.samples[static_cast<size_t>(b)].size.begin(), tokens_,
                run_.size + b * tokens_);
  }
}

}  // namespace tome
