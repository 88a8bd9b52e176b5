// From an AttentionRequest to a launch plan; the same for the GPU and for the host executor
// (Launcher is CudaLauncher or HostLauncher).
#pragma once

#include <string>
#include <type_traits>

#include "cuda/element_type.h"
#include "tome_error.h"
#include "vit/attention_cuda.h"
#include "vit/attention_group_kernel.h"
#include "vit/attention_kernel.h"

namespace tome::cuda {

inline void check_attention(const AttentionRequest& q) {
  if (!has_attention_kernel(q.type, q.dim)) {
    throw Error(ErrorKind::kSettings,
                "attention: no kernel for heads of " + std::to_string(q.dim) +
                    " channels in this type; expected bfloat16 or float16 and 32, 64, 80 or 128");
  }
  const bool aligned = is_aligned16(q.q) && is_aligned16(q.k) && is_aligned16(q.v) &&
                       is_aligned16(q.out) && q.sample_stride % 8 == 0 && q.token_stride % 8 == 0 &&
                       q.head_stride % 8 == 0;
  if (!aligned) {
    throw Error(ErrorKind::kSettings,
                "attention: q, k, v or out is not 16-byte aligned (strides " +
                    std::to_string(q.sample_stride) + ", " + std::to_string(q.token_stride) + ", " +
                    std::to_string(q.head_stride) + "); expected multiples of 8 elements");
  }
  if (q.batch < 1 || q.batch > 65535 || q.heads < 1 || q.heads > 65535 || q.tokens < 1) {
    throw Error(ErrorKind::kSettings, "attention: batch " + std::to_string(q.batch) + ", " +
                                          std::to_string(q.tokens) + " tokens, " +
                                          std::to_string(q.heads) +
                                          " heads; expected 1 to 65535 samples and heads");
  }
}

template <class T>
AttentionParams<T> attention_params(const AttentionRequest& q) {
  AttentionParams<T> p;
  p.q = static_cast<const T*>(q.q);
  p.k = static_cast<const T*>(q.k);
  p.v = static_cast<const T*>(q.v);
  p.key_weight = q.key_weight;
  p.weight_sample_stride = q.weight_sample_stride;
  p.out = static_cast<T*>(q.out);
  p.sample_stride = q.sample_stride;
  p.token_stride = q.token_stride;
  p.head_stride = q.head_stride;
  p.batch = q.batch;
  p.tokens = q.tokens;
  p.heads = q.heads;
  p.scale = q.scale;
  return p;
}

/// Calls launch with the request's parameters, in its element type.
/// @throws Error kSettings for sizes, strides or types without a kernel
template <class Launch>
void with_attention_params(const AttentionRequest& request, Launch&& launch) {
  check_attention(request);
  with_element_type(request.type, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if constexpr (!std::is_same_v<T, float>) launch(attention_params<T>(request));
  });
}

/// @throws Error as with_attention_params
template <class Launcher>
void run_attention(Launcher& launcher, const AttentionRequest& request) {
  with_attention_params(request,
                        [&](const auto& p) { launch_attention(launcher, request.dim, p); });
}

/// Whether warpgroups can do it, on a device that has them.
inline bool fits_warpgroups(const AttentionRequest& q) { return q.dim == kGroupDim; }

/// The same by warpgroups. @throws Error as run_attention
template <class Launcher>
void run_group_attention(Launcher& launcher, const AttentionRequest& request) {
  with_attention_params(request, [&](const auto& p) { launch_group_attention(launcher, p); });
}

}  // namespace tome::cuda
