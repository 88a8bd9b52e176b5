// CUDA devices: which there are, whether ours can run on them, and their memory. No CUDA header.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "cuda/on_device.h"
#include "cuda/types.h"

namespace tome::cuda {

struct DeviceInfo {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
};

/// The device with this index, if kernels of this build run on it (compute capability 8.0 or
/// later).
/// @throws Error kDevice that says what is missing: no driver, a driver older than the runtime (and
///   both versions), no such device (and how many there are), a device that is too old
DeviceInfo open_device(int index);

/// Runs a kernel that does nothing on the current device. Where there is no machine code of this
/// build for it, the driver translates PTX, unless it is older than the toolkit that made that.
/// @throws Error kDevice, kOutOfMemory that says why kernels do not run
void try_kernel();

/// Whether kernels of the current device begin beside the one before them where LaunchOrder says
/// so.
/// @throws Error kDevice
bool has_dependent_launches();

/// What is known of a call into a library that failed with a number alone: what lost the current
/// device, or else CUDA's last error on the calling thread, if there is one; and the device's free
/// memory. " on cuda:0: …" or "".
std::string device_report();

/// Memory of one device, freed with the object.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Zeroed memory on the current device.
  /// @throws Error kOutOfMemory that says how much was asked and how much was free, for `what`;
  ///   kDevice for anything else
  DeviceMemory(size_t bytes, const char* what);
  DeviceMemory(DeviceMemory&& other) noexcept
      : data_(std::move(other.data_)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    data_.swap(other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  void* data() const { return data_.get(); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data());
  }
  size_t bytes() const { return bytes_; }

  /// Copies between the host and the start of this memory; returns when the copy is complete.
  /// @throws Error kDevice, kSettings for more bytes than there are
  void upload(const void* from, size_t bytes);
  void download(void* to, size_t bytes) const;

 private:
  OnDevice<void> data_;
  size_t bytes_ = 0;
};

/// Waits for a stream (null: the default one). @throws Error kDevice for what failed in it
void synchronise(Stream stream);

}  // namespace tome::cuda
