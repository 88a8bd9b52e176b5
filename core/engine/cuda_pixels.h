// Frames to patch rows on a CUDA device: staging in page-locked memory, one copy, one launch.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "cuda/device.h"
#include "cuda/stream.h"
#include "engine/session.h"
#include "media/frame_staging.h"
#include "tome_error.h"
#include "vit/config.h"

namespace tome {

/// Blocks of device memory that are used again. Thread-safe; outlived by what it lends.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  /// At least `bytes` of memory on the current device, each time the same one.
  /// @throws Error kOutOfMemory
  std::shared_ptr<const cuda::DeviceMemory> take(size_t bytes);

  /// What `allocate` gives; if there is too little memory for it, once more after the pool has let
  /// go of what it keeps for later.
  template <class Allocate>
  auto with_room(Allocate&& allocate) {
    try {
      return allocate();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOutOfMemory || let_go(0).empty()) throw;
    }
    return allocate();
  }

 private:
  void give_back(cuda::DeviceMemory memory);
  /// The longest unused, until at most `kept` bytes are left. Returned, so that they are freed,
  /// which waits for the device, without the lock.
  std::vector<cuda::DeviceMemory> let_go(size_t kept);
  std::mutex mutex_;
  std::vector<cuda::DeviceMemory> free_;  // the longest unused first
  size_t free_bytes_ = 0;
};

/// A frame's patch rows in a block on the device.
struct DevicePatches : Patches {
  std::shared_ptr<const cuda::DeviceMemory> block;
  const unsigned char* data = nullptr;
};

/// For one stream at a time.
class CudaPixels {
 public:
  CudaPixels(int device, const PreprocessSpec& spec, const ViTConfig& config,
             cuda::ElementType type, std::shared_ptr<BlockPool> pool);

  /// Enqueues the pre-processing of a batch on `stream`; bad frames get their errors. Pixels in
  /// host memory have been read when this returns. Those in device memory are kept alive until
  /// `release`, before which `stream` must have got there.
  ///
  /// Note [Frames of another stream]: the stream waits for what the frame's producer has enqueued
  /// so far, through an event; the host does not.
  /// @throws Error kDevice, kOutOfMemory
  void enqueue(std::span<PreprocessJob> jobs, cuda::Stream stream, bool parallel);
  bool holds_pixels() const { return !held_.empty(); }
  void release() { held_.clear(); }

  size_t frame_bytes() const { return frame_bytes_; }

 private:
  void admit(PreprocessJob& job, cuda::Stream stream);
  void allocate(size_t bytes);
  void upload(cuda::Stream stream, bool parallel);
  void launch(const unsigned char* patches, cuda::Stream stream) const;

  int device_;
  PreprocessSpec spec_;
  int patch_;
  cuda::ElementType type_;
  size_t frame_bytes_;
  std::shared_ptr<BlockPool> pool_;
  FrameStaging staging_;
  cuda::PinnedMemory host_;
  cuda::DeviceMemory block_;
  cuda::Event produced_;
  std::vector<std::shared_ptr<const void>> held_;
};

}  // namespace tome
