// What a build without CUDA has to say.
#include "engine/cuda_model.h"
#include "tome_error.h"

namespace tome {
namespace {

constexpr const char* kAbsent = "CUDA: this build has no CUDA kernels";

}  // namespace

struct CudaModel {};

bool built_with_cuda() { return false; }
std::string why_no_cuda_kernels(int) { return kAbsent; }

int cuda_device_count() { return 1; }
std::string cuda_device_name(int) { return {}; }

std::shared_ptr<const CudaModel> upload_model(const ViTConfig&, const ViTWeights&,
                                              cuda::ElementType, int) {
  throw Error(ErrorKind::kDevice, kAbsent);
}

std::unique_ptr<DeviceSession> open_cuda_session(CudaSessionSetup) {
  throw Error(ErrorKind::kDevice, kAbsent);
}

std::vector<OperationTime> time_operations(DeviceSession&, const BatchInput&) {
  throw Error(ErrorKind::kSettings, kAbsent);
}

}  // namespace tome
