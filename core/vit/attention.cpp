#include "vit/attention.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <cmath>

namespace tome {

Heads split_heads(const at::Tensor& qkv, int64_t heads) {
  const int64_t batch = qkv.size(0);
  const int64_t tokens = qkv.size(1);
  const int64_t head_dim = qkv.size(2) / 3 / heads;
  const at::Tensor split = qkv.view({batch, tokens, 3, heads, head_dim}).permute({2, 0, 3, 1, 4});
  return {split[0], split[1], split[2]};
}

at::Tensor attention(const Heads& asked, const at::Tensor& log_weight) {
  // In training on the CPU under autocast: ATen's fused attention in bfloat16 sets up a oneDNN
  // product anew for every head of every sample, which costs more than the arithmetic of a whole
  // block.
  const bool widen = asked.q.scalar_type() == at::kBFloat16 && asked.q.device().is_cpu() &&
                     c10::GradMode::is_enabled() && asked.q.requires_grad();
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(widen ? c10::autocast_dispatch_keyset
                                                             : c10::DispatchKeySet());
  const Heads heads =
      widen ? Heads{asked.q.to(at::kFloat), asked.k.to(at::kFloat), asked.v.to(at::kFloat)} : asked;
  const int64_t batch = heads.q.size(0);
  const int64_t tokens = heads.q.size(2);
  std::optional<at::Tensor> bias;
  if (log_weight.defined()) {
    bias = log_weight.to(heads.q.scalar_type())
               .view({batch, 1, 1, tokens})
               .expand({batch, 1, tokens, tokens});
  }
  const at::Tensor out = at::scaled_dot_product_attention(heads.q, heads.k, heads.v, bias);
  return out.transpose(1, 2)
      .reshape({batch, tokens, heads.q.size(1) * heads.q.size(3)})
      .to(asked.q.scalar_type());
}

at::Tensor first_token_attention(const Heads& heads) {
  const at::Tensor query = heads.q.narrow(2, 0, 1).to(at::kFloat);
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(3)));
  const at::Tensor scores = query.matmul(heads.k.to(at::kFloat).transpose(2, 3)) * scale;
  return scores.softmax(-1).mean(1).transpose(1, 2);
}

at::Tensor merge_metric(Metric metric, const Heads& heads, const at::Tensor& before,
                        const at::Tensor& after) {
  switch (metric) {
    case Metric::kKeys:
      return heads.k.mean(1);
    case Metric::kKeysConcat:
      return heads.k.transpose(1, 2).flatten(2);
    case Metric::kQueries:
      return heads.q.mean(1);
    case Metric::kValues:
      return heads.v.mean(1);
    case Metric::kTokensBefore:
      return before;
    case Metric::kTokensAfter:
      return after;
  }
  return before;
}

}  // namespace tome
