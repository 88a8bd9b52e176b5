#include "cuda/launch.cuh"
#include "vit/attention_groups.cuh"
#include "vit/attention_request.h"

namespace tome::cuda {
namespace {

/// wgmma is of this one architecture; neither earlier nor later ones have it.
bool has_warpgroups() {
  return device_attribute(cudaDevAttrComputeCapabilityMajor, "attention") == 9;
}

}  // namespace

void attend(const AttentionRequest& request, Stream stream, LaunchOrder order) {
  check_attention(request);  // before a device is asked for
  if (fits_warpgroups(request) && !request.tiles_only && has_warpgroups())
    return attend_by_groups(request, stream, order);
  CudaLauncher launcher(stream, "attention", order);
  run_attention(launcher, request);
}

}  // namespace tome::cuda
