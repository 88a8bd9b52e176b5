// The inner loops of the CPU's own forward, one set for each instruction set and type of number.
//
// Two types of number: the residual stream, sizes, biases and norms are always float32; what goes
// into products (`element`) is float32 or bfloat16. A "step" is 32 bits of a product's inner
// dimension: one float32 or two bfloat16. Strides are in bytes. Rows of elements are padded with
// zeros to whole steps.
//
// Note [Products on the CPU]: weights are packed once into panels of `panel` columns, step by step,
// so that a product reads them as one stream. `block_rows` rows times one panel are summed in
// registers (for tiles see Note [Products by tiles]), and bias, activation or residual are applied
// before anything is stored. On Zen 5 this reaches 94 to 97 % of what the registers alone do: see
// docs/performance.md.
//
// Note [Products in 8 bits]: for the four products of every block. A step is then four bytes. A
// weight is a signed byte times its column's scale, which takes the largest of the column to 127. A
// token is quantised when a product needs it: x = scale (q - zero), q an unsigned byte, the row's
// smallest and largest numbers (and 0) at its ends, so that no calibration is needed and GELU's
// results, which lie to one side, lose nothing. Sums of products of bytes are exact, and become
// numbers where sums leave the registers:
//   sum x w = row scale * column scale * (sum q p - zero * sum p).
// All else is as the set has it: the residual stream, norms, softmax, matching, sizes, the patch
// embedding and the head.
//
// Note [Products in 8 bits by pairs]: AVX2 alone adds two products of bytes into 16 bits, which end
// at 32767, before they become numbers of 32 bits. There a column's scale takes the largest sum of
// two neighbours' magnitudes to 127: rounded, they come to 128 at most, 255 times which fits, and
// sums are as exact as elsewhere. Weights of 7 bits, the usual way, are coarser.
#pragma once

#include <cstdint>

#include "vit/config.h"

namespace tome {

/// What happens to a product's sums.
enum class Epilogue {
  kStore,  ///< out = elements of (sum + bias)
  kAct,    ///< out = elements of activation(sum + bias)
  kAdd,    ///< out += sum + bias, out float32
  kFloat,  ///< out = sum + bias, out float32
};

/// Steps of an inner dimension that are summed at once where sums are added up in memory: with the
/// block's rows, that part of a panel stays in the second-level cache.
inline constexpr int64_t kMostPartSteps = 1024;

/// The score of a key that is not there. Finite: infinities have no difference.
inline constexpr float kNoKey = -1e30F;

/// What a row's unsigned bytes stand for: scale * (byte - zero). A scale that is NaN says that the
/// row held something that is not finite.
struct ByteRow {
  float scale = 0, zero = 0;
};

struct ProductArgs {
  const void* a = nullptr;  ///< elements, or bytes, [rows, steps]
  int64_t a_stride = 0;
  int64_t rows = 0;
  const void* b = nullptr;      ///< packed panels
  int64_t steps = 0;            ///< of the inner dimension
  int64_t columns = 0;          ///< of the result
  const float* bias = nullptr;  ///< one for each column of every panel
  void* out = nullptr;
  int64_t out_stride = 0;
  Epilogue epilogue = Epilogue::kStore;
  Activation activation = Activation::kGelu;
  bool resident = false;  ///< the weights are in the core's cache: nothing is fetched ahead

  // Of bytes alone.
  const ByteRow* byte_rows = nullptr;  ///< of `a`
  /// Of `b`, padded to panels: each column's scale, and the sum of its bytes.
  const float *column_scale = nullptr, *column_sum = nullptr;
};

/// Rows of elements to bytes.
struct QuantiseArgs {
  const void* x = nullptr;  ///< elements [rows, count]
  int64_t x_stride = 0, count = 0;
  void* out = nullptr;  ///< bytes [rows, count, padded to whole vectors]
  int64_t out_stride = 0;
  ByteRow* rows = nullptr;
};

/// One head of one sample. Keys and values are packed by pack_head.
struct HeadArgs {
  const void *q = nullptr, *k = nullptr, *v = nullptr;  ///< elements [tokens, head_dim]
  int64_t stride = 0;                                   ///< of q, k and v
  int64_t tokens = 0, head_dim = 0;
  void* packed = nullptr;  ///< see packed_head_bytes
  /// float32 [tokens, padded to panels]: added to each key's score, in units of log 2; kNoKey for
  /// the padding.
  const float* key_bias = nullptr;
  void* out = nullptr;  ///< elements [tokens, head_dim]
  int64_t out_stride = 0;
};

/// Rows of float32 to normalised rows of elements.
struct NormArgs {
  const float* x = nullptr;
  int64_t x_stride = 0, dim = 0;
  const float *weight = nullptr, *bias = nullptr;
  float eps = 0;
  void* out = nullptr;
  int64_t out_stride = 0;
};

/// Which input tokens make each output token: those of output `i` are members[first[i]] to
/// members[first[i + 1] - 1], ascending.
struct MergeArgs {
  const float* x = nullptr;  ///< [tokens in, dim]
  int64_t x_stride = 0;
  const int32_t *first = nullptr, *members = nullptr;
  const float* size = nullptr;      ///< [tokens in]
  const float* size_out = nullptr;  ///< [tokens out]
  float* out = nullptr;             ///< [tokens out, dim]
  NormArgs norm;                    ///< of the output rows; norm.x is ignored
};

/// Best partner of every A token among the B tokens, by the cosine of keys averaged over heads.
struct PartnerArgs {
  const void* keys = nullptr;  ///< elements [tokens, heads * head_dim]
  int64_t stride = 0;
  int64_t tokens = 0, heads = 0, head_dim = 0;
  const int64_t *a = nullptr, *b = nullptr;  ///< places of the tokens of either half
  int64_t na = 0, nb = 0;
  void* scratch = nullptr;  ///< see partner_scratch_bytes
  float* score = nullptr;   ///< out [na]
  int32_t* best = nullptr;  ///< out [na], the first of equals
};

/// See Note [Products in 8 bits].
struct ByteKernels {
  bool in_pairs;  ///< see Note [Products in 8 bits by pairs]
  /// As CpuKernels::pack_weights, and what ProductArgs says of columns, padded with zeros.
  void (*pack_weights)(const float* weights, const float* row_scale, int64_t columns, int64_t inner,
                       void* packed, float* column_scale, float* column_sum);
  /// Rows [first, last).
  void (*quantise)(const QuantiseArgs& args, int64_t first, int64_t last);
  /// Panels [first, last) of the product.
  void (*product)(const ProductArgs& args, int64_t first, int64_t last);
};

struct CpuKernels {
  const char* name;
  const ByteKernels* bytes;  ///< null where the set has no products of bytes
  bool bf16;
  int64_t element_bytes;
  int64_t block_rows;  ///< rows summed at once, in registers or tiles
  int64_t panel;       ///< columns of a panel

  /// Weights [columns, inner] in float32, each row scaled by row_scale (null: 1), to panels.
  void (*pack_weights)(const float* weights, const float* row_scale, int64_t columns, int64_t inner,
                       void* packed);
  /// Panels [first, last) of the product.
  void (*product)(const ProductArgs& args, int64_t first, int64_t last);
  void (*pack_head)(const HeadArgs& args);
  /// Rows [first, last) of softmax(q k^T / sqrt(head_dim) + bias) v.
  void (*attend)(const HeadArgs& args, void* scratch, int64_t first, int64_t last);
  void (*normalise)(const NormArgs& args, int64_t first, int64_t last);
  /// The same with float32 for results.
  void (*normalise_float)(const NormArgs& args, int64_t first, int64_t last);
  /// Output tokens [first, last): their weighted means, and the LayerNorm of those.
  void (*merge_normalise)(const MergeArgs& args, int64_t first, int64_t last);
  void (*find_partners)(const PartnerArgs& args);
  /// count float32 to elements, zeros up to a whole step.
  void (*to_elements)(const float* from, int64_t count, void* to);

  int64_t steps(int64_t count) const { return bf16 ? (count + 1) / 2 : count; }
  int64_t panels(int64_t columns) const { return (columns + panel - 1) / panel; }
  int64_t packed_bytes(int64_t columns, int64_t inner) const {
    return panels(columns) * panel * steps(inner) * 4;
  }
  static int64_t byte_steps(int64_t count) { return (count + 3) / 4; }
  int64_t packed_head_bytes(int64_t tokens, int64_t head_dim) const {
    return packed_bytes(tokens, head_dim) + packed_bytes(head_dim, padded(tokens));
  }
  int64_t padded(int64_t columns) const { return panels(columns) * panel; }
  /// Scores of one block of rows, in float32 and as elements (by tiles, the latter alone).
  int64_t attend_scratch_bytes(int64_t tokens) const {
    return block_rows * 2 * (padded(tokens) + panel) * 4;
  }
  int64_t partner_scratch_bytes(int64_t tokens, int64_t head_dim) const {
    const int64_t keys = padded(head_dim) * (2 * padded(tokens) + panel + 1);
    return (keys + block_rows * padded(tokens)) * 4;
  }
};

/// What all sets in AVX-512 need, and oneDNN's products in bfloat16 as well.
bool has_wide_vectors();

enum class CpuSet { kAvx2, kAvx2Vnni, kAvx512, kAvx512Bf16, kAmxBf16 };

/// Null where the processor or the build lacks it.
const CpuKernels* cpu_kernels(CpuSet set);

/// What a model's products multiply.
enum class ProductType {
  kFloat,
  kBf16,
  kInt8,  ///< in the blocks; the rest in bfloat16 where the processor multiplies it, else float32
};

/// The best set for a precision, or null: then LibTorch's operators do the work (which have none of
/// 8 bits). The environment's TOME_MAX_CPU_ISA (avx2, avx2-vnni, avx512, avx512-bf16,
/// amx-bf16) leaves out what comes after it.
/// @param whole_steps  the model's sizes are whole steps of bfloat16, which its kernels need
/// @throws Error kSettings where that is anything else
const CpuKernels* best_cpu_kernels(ProductType type, bool whole_steps = true);

}  // namespace tome
