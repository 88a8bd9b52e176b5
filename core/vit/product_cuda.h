// Matrix products on a CUDA device by cuBLASLt, with bias, activation and residual in the product's
// own epilogue.
#pragma once

#include "cuda/cublas_lt.h"
#include "cuda/device.h"
#include "vit/fused_ops.h"

namespace tome::cuda {

/// For one stream at a time: its scratch memory is one.
class MatrixProducts {
 public:
  /// On the current device. @throws Error kDevice, kOutOfMemory
  MatrixProducts();
  ~MatrixProducts();
  MatrixProducts(const MatrixProducts&) = delete;
  MatrixProducts& operator=(const MatrixProducts&) = delete;

  /// Enqueues the product. Equal shapes and alignments get equal algorithms.
  /// @throws Error kDevice, kOutOfMemory; kSettings for the exact GELU, which no epilogue has
  void run(const ProductRequest& request, Stream stream);

 private:
  lt::Handle handle_ = nullptr;
  DeviceMemory workspace_;
};

}  // namespace tome::cuda
