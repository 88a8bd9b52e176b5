#include "cuda/device.h"

#include <utility>

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

__global__ void do_nothing() {}

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
  if (status != cudaSuccess && status != cudaErrorNoDevice) check(status, "looking for devices");
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
  DeviceInfo info{index, properties.name, properties.major, properties.minor,
                  properties.totalGlobalMem};
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
  do_nothing<<<1, 1, 0, stream.get()>>>();
  check(cudaGetLastError(), "running a first kernel");
  synchronise(stream.get());
}

bool has_dependent_launches() {
  return device_attribute(cudaDevAttrComputeCapabilityMajor, "asking for dependent launches") >= 9;
}

std::string device_report() {
  const cudaError_t status = cudaGetLastError();
  std::string text = on_current_device();
  if (status != cudaSuccess) {
    text += std::string(": CUDA error ") + cudaGetErrorName(status) +
            (is_lost(status) ? "; the device is lost to this process" : "");
  }
  return text + free_memory();
}

DeviceMemory::DeviceMemory(size_t bytes, const char* what) : bytes_(bytes) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMalloc(&data_, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // the process goes on
    throw Error(ErrorKind::kOutOfMemory, std::string(what) + on_current_device() + ": asked for " +
                                             std::to_string(bytes) + " bytes" + free_memory());
  }
  check(status, what);
  cudaError_t cleared = cudaMemset(data_, 0, bytes);
  // Our streams do not wait for the default stream, where this and copies run.
  if (cleared == cudaSuccess) cleared = cudaStreamSynchronize(nullptr);
  if (cleared != cudaSuccess) {
    cudaFree(std::exchange(data_, nullptr));
    check(cleared, what);
  }
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) cudaFree(data_);
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void DeviceMemory::upload(const void* from, size_t bytes) {
  check_size(bytes, bytes_);
  check(cudaMemcpy(data_, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
  check(cudaStreamSynchronize(nullptr), "copying to the device");
}

void DeviceMemory::download(void* to, size_t bytes) const {
  check_size(bytes, bytes_);
  check(cudaMemcpy(to, data_, bytes, cudaMemcpyDeviceToHost), "copying from the device");
}

void synchronise(Stream stream) { check(cudaStreamSynchronize(stream), "waiting for the device"); }

}  // namespace tome::cuda
