#include "vit/attention_groups.cuh"

#include "cuda/launch.cuh"
#include "vit/attention_request.h"

namespace tome::cuda {

bool can_attend_by_groups() {
  cudaFuncAttributes unused{};
  const cudaError_t status =
      cudaFuncGetAttributes(&unused, run_body<GroupAttentionBody<Bf16, kGroupDim, false>>);
  if (status == cudaErrorMemoryAllocation) check(status, "attention");
  if (status != cudaSuccess) cudaGetLastError();  // else the next launch would be blamed for it
  return status == cudaSuccess;
}

void attend_by_groups(const AttentionRequest& request, Stream stream, LaunchOrder order) {
  CudaLauncher launcher(stream, "attention", order);
  run_group_attention(launcher, request);
}

}  // namespace tome::cuda
