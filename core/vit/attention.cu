#include <string>

#include "cuda/launch.cuh"
#include "vit/attention_cuda.h"
#include "vit/attention_kernel.h"

namespace tome::cuda {
namespace {

void check_request(const AttentionRequest& q) {
  if (!has_attention_kernel(q.type, q.dim)) {
    throw Error(ErrorKind::kSettings,
                "attention: no kernel for heads of " + std::to_string(q.dim) +
                    " channels in this type; expected bfloat16 or float16 and 32, 64, 80 or 128");
  }
  const bool aligned = is_aligned16(q.q) && is_aligned16(q.k) && is_aligned16(q.v) &&
                       q.sample_stride % 8 == 0 && q.token_stride % 8 == 0 &&
                       q.head_stride % 8 == 0;
  if (!aligned) {
    throw Error(ErrorKind::kSettings,
                "attention: q, k or v is not 16-byte aligned (strides " +
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
void launch(const AttentionRequest& q, Stream stream) {
  AttentionParams<T> p;
  p.q = static_cast<const T*>(q.q);
  p.k = static_cast<const T*>(q.k);
  p.v = static_cast<const T*>(q.v);
  p.key_weight = q.key_weight;
  p.out = static_cast<T*>(q.out);
  p.sample_stride = q.sample_stride;
  p.token_stride = q.token_stride;
  p.head_stride = q.head_stride;
  p.batch = q.batch;
  p.tokens = q.tokens;
  p.heads = q.heads;
  p.scale = q.scale;
  CudaLauncher launcher(stream, "attention");
  launch_attention(launcher, q.dim, p);
}

}  // namespace

bool has_attention_kernel(ElementType type, int dim) {
  return type != ElementType::kFloat32 && (dim == 32 || dim == 64 || dim == 80 || dim == 128);
}

void attend(const AttentionRequest& request, Stream stream) {
  check_request(request);
  if (request.type == ElementType::kBfloat16) {
    launch<Bf16>(request, stream);
  } else {
    launch<Half>(request, stream);
  }
}

}  // namespace tome::cuda
