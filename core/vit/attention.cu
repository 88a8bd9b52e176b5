#include "cuda/launch.cuh"
#include "vit/attention_request.h"

namespace tome::cuda {

void attend(const AttentionRequest& request, Stream stream) {
  CudaLauncher launcher(stream, "attention");
  run_attention(launcher, request);
}

}  // namespace tome::cuda
