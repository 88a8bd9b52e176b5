#include "cuda/device.h"

#include "cuda/launch.cuh"
#include "cuda/stream.h"

namespace tome::cuda {
namespace {

constexpr int kOldestMajor = 8;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void check_size(size_t asked, size_t there) {
  if (asked <= there) return;
  throw Error(ErrorKind::kSettings, "CUDA: copy of " + std::to_string(asked) +
                                        " bytes to or from memory of " + std::to_string(there));
}

struct NothingBody {
  static constexpr int kThreads = kWarpSize;
  struct Params {};
  template <class Ctx>
  static TOME_KERNEL void run(Ctx&, const Params&) {}
};

/// Waits for what `enqueue` does to a stream of its own. The default stream would wait for all
/// others but ours; where an application captures one of those, that ends the capture.
template <class Enqueue>
void run_now(const char* what, Enqueue&& enqueue) {
  const OwnedStream stream;
  check(enqueue(stream.get()), what);
  check(cudaStreamSynchronize(stream.get()), what);
}

/// What lost the device, if it is lost. Libraries have a runtime of their own, whose last error
/// ours does not know, but what lost the device is the answer to any call.
cudaError_t why_lost() {
  const cudaError_t answer = ask_device();
  return tells_loss(answer) ? answer : cudaSuccess;
}

}  // namespace

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();  // a missing device must not be the error of a later call
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (status == cudaErrorInsufficientDriver) {
    throw Error(ErrorKind::kDevice,
                driver == 0 ? "CUDA: no NVIDIA driver found; expected one for CUDA " +
                                  version_text(runtime) + " or later"
                            : "CUDA: the NVIDIA driver is for CUDA " + version_text(driver) +
                                  "; expected one for CUDA " + version_text(runtime) + " or later");
  }
  if (status != cudaSuccess && status != cudaErrorNoDevice) {
    // Not by check(), which asks a device whether it is lost: none has answered yet.
    throw Error(ErrorKind::kDevice, "CUDA: looking for devices: " + error_text(status));
  }
  throw Error(ErrorKind::kDevice, "CUDA: the driver finds no device");
}

DeviceInfo open_device(int index) {
  const int count = device_count();
  if (index < 0 || index >= count) {
    throw Error(ErrorKind::kDevice, "CUDA: no device " + std::to_string(index) + "; there are " +
                                        std::to_string(count) + ", counted from 0");
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
  DeviceInfo info{index, properties.name, properties.major, properties.minor};
  if (info.major < kOldestMajor) {
    throw Error(ErrorKind::kDevice, "CUDA: device " + std::to_string(index) + " (" + info.name +
                                        ") has compute capability " + std::to_string(info.major) +
                                        "." + std::to_string(info.minor) +
                                        "; expected 8.0 or later");
  }
  return info;
}

void try_kernel() {
  const OwnedStream stream;  // waits for nobody else's work
  CudaLauncher(stream.get(), "running a first kernel").run<NothingBody>({}, {});
  synchronise(stream.get());
}

bool has_dependent_launches() {
  return device_attribute(cudaDevAttrComputeCapabilityMajor, "asking for dependent launches") >= 9;
}

std::string device_report() {
  const cudaError_t last = cudaGetLastError(), lost = why_lost();
  const cudaError_t status = lost != cudaSuccess ? lost : last;
  std::string text = on_current_device();
  if (status != cudaSuccess) {
    text +=
        std::string(": CUDA error ") + cudaGetErrorName(status) + (tells_loss(status) ? kLost : "");
  }
  return text + free_memory();
}

DeviceMemory::DeviceMemory(size_t bytes, const char* what) : bytes_(bytes) {
  if (bytes == 0) return;
  const auto destroy = [](void* memory) -> int { return cudaFree(memory); };
  data_ = make_on_device<void>(destroy, what, [&](void** memory) {
    const cudaError_t status = cudaMalloc(memory, bytes);
    if (status != cudaErrorMemoryAllocation) return status;
    cudaGetLastError();  // the process goes on
    throw Error(ErrorKind::kOutOfMemory, std::string(what) + on_current_device() + ": asked for " +
                                             std::to_string(bytes) + " bytes" + free_memory());
  });
  run_now(what, [&](Stream stream) { return cudaMemsetAsync(data(), 0, bytes, stream); });
}

void DeviceMemory::upload(const void* from, size_t bytes) {
  check_size(bytes, bytes_);
  run_now("copying to the device", [&](Stream stream) {
    return cudaMemcpyAsync(data(), from, bytes, cudaMemcpyHostToDevice, stream);
  });
}

void DeviceMemory::download(void* to, size_t bytes) const {
  check_size(bytes, bytes_);
  run_now("copying from the device", [&](Stream stream) {
    return cudaMemcpyAsync(to, data(), bytes, cudaMemcpyDeviceToHost, stream);
  });
}

void synchronise(Stream stream) { check(cudaStreamSynchronize(stream), "waiting for the device"); }

}  // namespace tome::cuda
