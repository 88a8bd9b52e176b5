// The memory of one forward, kept between forwards.
#pragma once

#include <cstdint>
#include <vector>

#include "vit/config.h"
#include "vit/cpu_kernels.h"
#include "vit/cpu_memory.h"

namespace tome {

/// How large a forward is.
struct CpuExtent {
  int64_t batch = 0, tokens = 0;
  int threads = 1;
  int64_t rows() const { return batch * tokens; }
  bool holds(const CpuExtent& other) const {
    return batch >= other.batch && tokens >= other.tokens && threads >= other.threads;
  }
};

/// What merging knows of one sample.
struct SampleTokens {
  std::vector<float> size, size_out;
  std::vector<uint8_t> parity, parity_out;  ///< of the token's place in the clip's grid
  std::vector<int64_t> target, a, b;
  int64_t na = 0, nb = 0;
  std::vector<int32_t> first, members, order, best;
  std::vector<float> score, largest;
};

/// Fewer heads than this are packed all at once.
inline int64_t most_packed_heads(int threads) { return int64_t{16} * threads; }

struct CpuWorkspace {
  /// @param bytes  of products in 8 bits
  CpuWorkspace(const CpuExtent& extent, const ViTConfig& config, const CpuKernels& kernels,
               bool bytes);

  CpuExtent extent;
  /// Bytes between rows; the last two of `pooled` and `head_rows`.
  int64_t x_stride, narrow_stride, wide_stride, pooled_stride, head_stride;
  CpuBuffer x, x_out;  ///< float32 [rows, dim], the residual stream and where merging writes it
  CpuBuffer narrow;    ///< elements [rows, dim]: normalised tokens, or attention's result
  CpuBuffer wide;      ///< elements [rows, ...]: patches, then q k v, then the MLP's hidden layer
  CpuBuffer bytes;     ///< [rows, ...]: what a product in 8 bits multiplies
  CpuBuffer packed;    ///< keys and values
  CpuBuffer scratch;   ///< of each thread
  CpuBuffer pooled, head_rows;                ///< float32 and elements [2 * batch, head's inputs]
  CpuBuffer other_logits;                     ///< float32 [batch, classes], of a second head
  std::vector<float> key_bias, key_bias_out;  ///< [batch, padded tokens]
  int64_t packed_stride, scratch_stride, padded_tokens, byte_stride = 0;
  std::vector<ByteRow> byte_rows;
  std::vector<SampleTokens> samples;
};

}  // namespace tome
