#include <map>
#include <mutex>

#include "cuda/launch.cuh"
#include "cuda/stream.h"
#include "never_destroyed.h"
#include "vit/attention_groups.cuh"
#include "vit/attention_request.h"

namespace tome::cuda {
namespace {

/// By device.
struct HaveWarpgroups {
  std::mutex mutex;
  std::map<int, bool> known;
};

/// wgmma is of this one architecture; neither earlier nor later ones have it.
bool has_warpgroups() {
  if (device_attribute(cudaDevAttrComputeCapabilityMajor, "attention") != 9) return false;
  auto& [mutex, known] = never_destroyed<HaveWarpgroups>();
  const std::lock_guard lock(mutex);
  const int device = current_device();
  const auto found = known.find(device);
  if (found != known.end()) return found->second;
  return known.emplace(device, can_attend_by_groups()).first->second;
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
