// A model on a CUDA device in the fused forward's form, and whether such a thing is to be had here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/session.h"
#include "media/preprocess.h"
#include "vit/fused_weights.h"
#include "vit/operation_time.h"

namespace tome {

/// Whether this build has CUDA kernels at all.
bool built_with_cuda();

/// Empty if the CUDA kernels of this build can run on this device now, else what is missing: a
/// build with CUDA, a driver, a device that is new enough, cuBLASLt, a context on the device (which
/// this makes: another process may have the device for itself, or all of its memory), a driver that
/// takes the kernels' code (one of them is run).
std::string why_no_cuda_kernels(int device);

/// How many devices there are to try; one where none is found, which then says why.
int cuda_device_count();

/// The device's own name, "NVIDIA H100 80GB HBM3"; empty where there is none that is new enough.
std::string cuda_device_name(int device);

/// Weights on a device, shared by every session that runs the model there.
struct CudaModel;

/// @param weights  on the CPU, as load_checkpoint gives them; why_not_fused has no objection
/// @throws Error kDevice, kOutOfMemory
std::shared_ptr<const CudaModel> upload_model(const ViTConfig& config, const ViTWeights& weights,
                                              cuda::ElementType type, int device);

/// The model in LibTorch's operations on the same device, made when it is first needed.
using AtenModel = std::function<std::shared_ptr<const VisionTransformer>()>;

struct CudaSessionSetup {
  ViTConfig config;
  PreprocessSpec preprocess;
  int device = 0;
  cuda::ElementType type = cuda::ElementType::kBfloat16;
  std::shared_ptr<const CudaModel> model;  ///< null: every forward goes LibTorch's way
  AtenModel aten;
};

/// Pixels are pre-processed on the device whatever the model; forwards run as CUDA graphs where
/// `model` is given, but for what only LibTorch's way offers (merging of static patches).
/// @throws Error kDevice, kOutOfMemory
std::unique_ptr<DeviceSession> open_cuda_session(CudaSessionSetup setup);

/// The operations of one forward, not as a graph, and matching in turn: what a profile of a few
/// lines can say.
/// @param input  as DeviceSession::forward takes it, from the same session
/// @throws Error kSettings for a session without a fused forward
std::vector<OperationTime> time_operations(DeviceSession& session, const BatchInput& input);

}  // namespace tome
