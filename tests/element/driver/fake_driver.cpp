#include "fake_driver.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>

// The driver's binary interface, as far as GStreamer uses it; cuda.h would rename the functions.
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;

namespace {

constexpr CUresult kSuccess = 0;
constexpr CUresult kOutOfMemory = 2;
constexpr CUresult kInvalidDevice = 101;
constexpr CUresult kNotSupported = 801;
constexpr int kDevices = 3;
constexpr size_t kPitch = 256;
constexpr unsigned kHostMemory = 1;

std::atomic<int> downloads, waits, allocations, retain_failure;
std::array<char, kDevices> primary_contexts;  // their addresses are the handles

struct Copy2D {
  size_t src_x, src_y;
  unsigned src_type;
  const void* src_host;
  CUdeviceptr src_device;
  void* src_array;
  size_t src_pitch;
  size_t dst_x, dst_y;
  unsigned dst_type;
  void* dst_host;
  CUdeviceptr dst_device;
  void* dst_array;
  size_t dst_pitch;
  size_t width, height;
};

CUresult copy(const Copy2D& c) {
  const auto* from = static_cast<const char*>(
      c.src_type == kHostMemory ? c.src_host : reinterpret_cast<const void*>(c.src_device));
  auto* to = static_cast<char*>(c.dst_type == kHostMemory ? c.dst_host
                                                          : reinterpret_cast<void*>(c.dst_device));
  if (c.src_type != kHostMemory && c.dst_type == kHostMemory) ++downloads;
  for (size_t row = 0; row < c.height; ++row) {
    std::memcpy(to + (c.dst_y + row) * c.dst_pitch + c.dst_x,
                from + (c.src_y + row) * c.src_pitch + c.src_x, c.width);
  }
  return kSuccess;
}

CUresult allocate(void** pointer, size_t bytes) {
  *pointer = std::aligned_alloc(kPitch, (bytes + kPitch - 1) / kPitch * kPitch);
  if (*pointer == nullptr) return kOutOfMemory;
  std::memset(*pointer, 0, bytes);
  return kSuccess;
}

CUresult make_handle(void** handle) {
  *handle = std::malloc(1);
  return *handle != nullptr ? kSuccess : kOutOfMemory;
}

CUresult drop_handle(void* handle) {
  std::free(handle);
  return kSuccess;
}

}  // namespace

extern "C" {

int fake_driver_downloads() { return downloads; }
int fake_driver_waits() { return waits; }
int fake_driver_allocations() { return allocations; }
void fake_driver_fail_retain(int result) { retain_failure = result; }
void* fake_driver_primary(int device) { return &primary_contexts.at(static_cast<size_t>(device)); }
void fake_driver_reset() { downloads = waits = retain_failure = 0; }

CUresult cuInit(unsigned) { return kSuccess; }
CUresult cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}
CUresult cuGetErrorName(CUresult, const char** name) {
  *name = "CUDA_ERROR_FAKE";
  return kSuccess;
}
CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "an error of the stand-in driver";
  return kSuccess;
}
CUresult cuDeviceGetCount(int* count) {
  *count = kDevices;
  return kSuccess;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return ordinal >= 0 && ordinal < kDevices ? kSuccess : kInvalidDevice;
}
CUresult cuDeviceGetName(char* name, int length, CUdevice) {
  std::strncpy(name, "stand-in", static_cast<size_t>(length));
  return kSuccess;
}
CUresult cuDeviceGetAttribute(int* value, int, CUdevice) {
  *value = 0;
  return kSuccess;
}
CUresult cuDeviceCanAccessPeer(int* can, CUdevice, CUdevice) {
  *can = 0;
  return kSuccess;
}
CUresult cuDevicePrimaryCtxRetain(void** context, CUdevice device) {
  if (retain_failure != 0) return retain_failure;
  *context = fake_driver_primary(device);
  return kSuccess;
}
CUresult cuCtxCreate_v2(void** context, unsigned, CUdevice) { return make_handle(context); }
CUresult cuCtxDestroy_v2(void* context) { return drop_handle(context); }
CUresult cuCtxPushCurrent_v2(void*) { return kSuccess; }
CUresult cuCtxPopCurrent_v2(void** context) {
  if (context != nullptr) *context = nullptr;
  return kSuccess;
}
CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  ++allocations;
  return allocate(reinterpret_cast<void**>(pointer), bytes);
}
CUresult cuMemAllocPitch_v2(CUdeviceptr* pointer, size_t* pitch, size_t width, size_t height,
                            unsigned) {
  *pitch = (width + kPitch - 1) / kPitch * kPitch;
  return cuMemAlloc_v2(pointer, *pitch * height);
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
  --allocations;
  return drop_handle(reinterpret_cast<void*>(pointer));
}
CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) { return allocate(pointer, bytes); }
CUresult cuMemFreeHost(void* pointer) { return drop_handle(pointer); }
CUresult cuMemcpy2D_v2(const Copy2D* copied) { return copy(*copied); }
CUresult cuMemcpy2DAsync_v2(const Copy2D* copied, void*) { return copy(*copied); }
CUresult cuStreamCreate(void** stream, unsigned) { return make_handle(stream); }
CUresult cuStreamDestroy(void* stream) { return drop_handle(stream); }
CUresult cuStreamDestroy_v2(void* stream) { return drop_handle(stream); }
CUresult cuStreamSynchronize(void*) {
  ++waits;
  return kSuccess;
}

// What GStreamer's loader insists on finding, and the tests never call.
#define UNUSED(name) \
  CUresult name() { return kNotSupported; }
UNUSED(cuCtxEnablePeerAccess)
UNUSED(cuCtxDisablePeerAccess)
UNUSED(cuCtxGetLimit)
UNUSED(cuCtxSetLimit)
UNUSED(cuCtxSynchronize)
UNUSED(cuEventCreate)
UNUSED(cuEventDestroy_v2)
UNUSED(cuEventRecord)
UNUSED(cuEventSynchronize)
UNUSED(cuGLGetDevices_v2)
UNUSED(cuGraphicsEGLRegisterImage)
UNUSED(cuGraphicsGLRegisterBuffer)
UNUSED(cuGraphicsGLRegisterImage)
UNUSED(cuGraphicsMapResources)
UNUSED(cuGraphicsResourceGetMappedEglFrame)
UNUSED(cuGraphicsResourceGetMappedPointer_v2)
UNUSED(cuGraphicsResourceSetMapFlags_v2)
UNUSED(cuGraphicsSubResourceGetMappedArray)
UNUSED(cuGraphicsUnmapResources)
UNUSED(cuGraphicsUnregisterResource)
UNUSED(cuIpcCloseMemHandle)
UNUSED(cuIpcGetEventHandle)
UNUSED(cuIpcGetMemHandle)
UNUSED(cuIpcOpenEventHandle)
UNUSED(cuIpcOpenMemHandle_v2)
UNUSED(cuIpcOpenMemHandle)
UNUSED(cuLaunchKernel)
UNUSED(cuMemcpyDtoDAsync_v2)
UNUSED(cuMemcpyDtoD_v2)
UNUSED(cuMemcpyDtoHAsync_v2)
UNUSED(cuMemcpyDtoH_v2)
UNUSED(cuMemcpyHtoDAsync_v2)
UNUSED(cuMemcpyHtoD_v2)
UNUSED(cuMemsetD2D16Async)
UNUSED(cuMemsetD2D16_v2)
UNUSED(cuMemsetD2D32Async)
UNUSED(cuMemsetD2D32_v2)
UNUSED(cuMemsetD2D8Async)
UNUSED(cuMemsetD2D8_v2)
UNUSED(cuModuleGetFunction)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleUnload)
UNUSED(cuTexObjectCreate)
UNUSED(cuTexObjectDestroy)
}
