// Runs launch plans (match_launch.h and its like) on the GPU.
#pragma once

#include <cuda_runtime.h>

#include "cuda/cuda_context.cuh"
#include "cuda/runtime.h"
#include "cuda/types.h"

namespace tome::cuda {

/// Blocks that a multiprocessor must hold at once, which bounds registers; bodies that do not say
/// leave it to the compiler.
template <class Body>
constexpr int blocks_of() {
  if constexpr (requires { Body::kBlocks; }) return Body::kBlocks;
  return 1;
}

template <class Body>
__global__ void __launch_bounds__(Body::kThreads, blocks_of<Body>())
    run_body(const __grid_constant__ typename Body::Params params) {
  CudaContext ctx;
  Body::run(ctx, params);
}

constexpr int kSharedWithoutAsking = 48 * 1024;

class CudaLauncher {
 public:
  /// @param what  names the operation in errors
  /// @param order  kBesideLast: see Note [A kernel beside the one before it]
  CudaLauncher(cudaStream_t stream, const char* what, LaunchOrder order = LaunchOrder::kInTurn)
      : stream_(stream), what_(what), order_(order) {}

  /// Multiprocessors, for grids that are cut to what runs at once; no result depends on them.
  int processors() const { return device_attribute(cudaDevAttrMultiProcessorCount, what_); }

  template <class Body>
  void run(const LaunchShape& shape, const typename Body::Params& params) {
    if (shape.shared_bytes > kSharedWithoutAsking) {
      check(cudaFuncSetAttribute(run_body<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 shape.shared_bytes),
            what_);
    }
    cudaLaunchAttribute dependent{};
    dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    dependent.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(shape.grid.x), static_cast<unsigned>(shape.grid.y),
                          static_cast<unsigned>(shape.grid.z));
    config.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
    config.stream = stream_;
    config.attrs = &dependent;
    config.numAttrs = order_ == LaunchOrder::kBesideLast ? 1 : 0;
    check(cudaLaunchKernelEx(&config, run_body<Body>, params), what_);
  }

 private:
  cudaStream_t stream_;
  const char* what_;
  LaunchOrder order_;
};

}  // namespace tome::cuda
