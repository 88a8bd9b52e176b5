// From a configuration to a model that is ready to serve: weights, device, precision, warm-up.
#pragma once

#include "engine/model_instance.h"

namespace tome {

/// The ModelOpener for model folders. Weights are shared by all instances of the process that use
/// the same model, input size, clip length, device and precision.
/// @throws Error as load_checkpoint, choose_device and parse_precision do
OpenedModel open_model(const InstanceConfig& config);

/// Threads of the calling thread's forwards, whatever other threads set for theirs at the same
/// time; no more than the process has cores. 0: the process's default.
void set_worker_threads(int32_t threads);

}  // namespace tome
