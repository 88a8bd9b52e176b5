// What a device must be able to do for the engine: pixels to patches, and a batch of patches to
// logits. Everything that knows about tensors and devices is behind this interface.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "media/frame.h"
#include "vit/model.h"

namespace tome {

/// Normalised patch rows of one frame, wherever the session keeps them. Shared, so that a frame is
/// pre-processed once however many windows it is in.
struct Patches {
  at::Tensor rows;  ///< float32 [n, 3 * p * p]
};
using PatchesPtr = std::shared_ptr<const Patches>;

struct PreprocessJob {
  const Frame* frame = nullptr;
  PatchesPtr patches;        ///< out
  std::exception_ptr error;  ///< out: a bad frame fails alone
};

/// `batch` requests of `frames_per_request` frames each, request by request.
struct BatchInput {
  std::vector<PatchesPtr> frames;
  int64_t batch = 0, frames_per_request = 1;
  std::vector<int64_t> r;  ///< asked of each block
  PropAttn prop_attn = PropAttn::kAuto;
  std::optional<Partition> partition;  ///< unset: default_partition(); not kRandom
  double static_threshold = -1;  ///< grey levels; negative: static patches are not merged first
};

struct BatchOutput {
  std::vector<float> logits;  ///< [batch, classes]
  int64_t classes = 0;
  int64_t tokens_in = 0;
  std::vector<int64_t> tokens_out;  ///< of each request: a still clip may keep fewer than another
};

class DeviceSession {
 public:
  virtual ~DeviceSession() = default;

  /// On the worker: may use its pool of threads. Returns when pixels in host memory have been read;
  /// the session keeps frames in device memory alive until `forward` or `finish_reading` returns.
  /// @throws Error kOutOfMemory: no job is done, and fewer at once may be asked for
  virtual void preprocess(std::span<PreprocessJob> jobs) = 0;

  /// On the worker: after `preprocess`, where no forward follows.
  virtual void finish_reading() {}

  /// On any thread, also while `forward` runs; uses no other thread.
  /// @throws Error as preprocess_to_patches does
  virtual PatchesPtr preprocess_one(const Frame& frame) = 0;

  /// On the worker. @throws Error, c10::Error
  virtual BatchOutput forward(const BatchInput& input) = 0;

  /// Does what is done once for requests of this shape, so that forwards after it all take as long.
  /// @throws Error as forward
  virtual void warm_up(const BatchInput& input) { forward(input); }
};

}  // namespace tome
