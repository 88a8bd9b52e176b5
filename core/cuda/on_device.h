// Who destroys what CUDA makes on a device, and where. No CUDA header.
#pragma once

#include <memory>

namespace tome::cuda {

/// Destroys with the object's device current, in whichever thread: a thread without a context would
/// else make and keep that of device 0, and where there is no memory for it, free nothing. That
/// something cannot be destroyed is nobody's error: it went with its device.
class DestroyOnDevice {
 public:
  using Destroy = int (*)(void* object);  ///< gives 0 where it worked

  DestroyOnDevice() = default;
  /// For what is made on the current device. @throws Error kDevice, for `what`
  DestroyOnDevice(Destroy destroy, const char* what);
  void operator()(void* object) const noexcept;

 private:
  Destroy destroy_ = nullptr;
  int device_ = 0;
};

template <class T>
using OnDevice = std::unique_ptr<T, DestroyOnDevice>;

}  // namespace tome::cuda
