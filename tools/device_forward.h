// Forwards on a CUDA device as the element runs them: the engine's session, with its kernels,
// graphs and the copy of the logits to the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/cuda_model.h"

namespace tome::cli {

/// Empty if forwards with these settings run on our own kernels, else why not.
std::string why_no_device_forward(const ViTConfig& config, const ForwardOptions& options,
                                  at::Device device, at::ScalarType precision);

class DeviceForward {
 public:
  /// @param checkpoint  outlives this. @throws Error kDevice, kOutOfMemory
  DeviceForward(const Checkpoint& checkpoint, at::Device device, at::ScalarType precision);

  /// Requests of noise, pre-processed on the device, for `run` and `operations`, and warmed up.
  BatchInput make_input(int64_t batch, int64_t frames, const ForwardOptions& options);
  /// @return logits, float32 [batch, classes], on the CPU
  at::Tensor run(const BatchInput& input);
  std::vector<OperationTime> operations(const BatchInput& input);

 private:
  std::unique_ptr<DeviceSession> session_;
};

}  // namespace tome::cli
