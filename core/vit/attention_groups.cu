#include "vit/attention_groups.cuh"

#include "cuda/launch.cuh"
#include "vit/attention_request.h"

namespace tome::cuda {

void attend_by_groups(const AttentionRequest& request, Stream stream, LaunchOrder order) {
  CudaLauncher launcher(stream, "attention", order);
  run_group_attention(launcher, request);
}

}  // namespace tome::cuda
