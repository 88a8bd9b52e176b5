// Calls of the CUDA runtime, and what went wrong. For any compiler: no kernel is here.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "cuda/on_device.h"
#include "tome_error.h"

namespace tome::cuda {

/// After these no call of this process gets through to the device any more: CUDA's documentation of
/// each says that the process must be restarted.
inline bool is_lost(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorContextIsDestroyed:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorAssert:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
      return true;
    default:
      return false;
  }
}

/// " on cuda:0", the calling thread's device; empty if CUDA does not say.
inline std::string on_current_device() {
  int device = 0;
  if (cudaGetDevice(&device) == cudaSuccess) return " on cuda:" + std::to_string(device);
  cudaGetLastError();
  return "";
}

/// "; N of M bytes of device memory are free"; empty if CUDA does not say.
inline std::string free_memory() {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    cudaGetLastError();
    return "";
  }
  return "; " + std::to_string(free) + " of " + std::to_string(total) +
         " bytes of device memory are free";
}

/// "CUDA error NAME (CUDA's own words)"
inline std::string error_text(cudaError_t status) {
  return std::string("CUDA error ") + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) +
         ")";
}

/// What the current device answers where nothing is asked of it. Unlike a question to the default
/// stream, this one cannot end what another thread captures.
inline cudaError_t ask_device() {
  size_t free = 0, total = 0;
  const cudaError_t status = cudaMemGetInfo(&free, &total);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

/// Whether a call that failed so tells that the current device is lost. One that fell off the bus
/// may answer every call with cudaErrorUnknown, which says nothing where one call alone does.
inline bool tells_loss(cudaError_t status) {
  return is_lost(status) || (status == cudaErrorUnknown && ask_device() == status);
}

constexpr const char* kLost = "; the device is lost to this process";

/// @throws Error kOutOfMemory or kDevice that names what was being done and where, and CUDA's own
///   words
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next launch would be blamed for it; a lost device stays lost
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ErrorKind::kOutOfMemory : ErrorKind::kDevice,
              std::string(what) + on_current_device() + ": " + error_text(status) +
                  (memory ? free_memory() : "") + (tells_loss(status) ? kLost : ""));
}

/// What `make(&object)` makes on the current device.
/// @throws Error as check, and what `make` throws
template <class T, class Make>
OnDevice<T> make_on_device(DestroyOnDevice::Destroy destroy, const char* what, Make&& make) {
  OnDevice<T> owner(nullptr, DestroyOnDevice(destroy, what));
  T* object = nullptr;
  check(make(&object), what);
  owner.reset(object);
  return owner;
}

/// Of the current device. @throws Error kDevice, for `what`
inline int device_attribute(cudaDeviceAttr attribute, const char* what) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), what);
  check(cudaDeviceGetAttribute(&value, attribute, device), what);
  return value;
}

}  // namespace tome::cuda
