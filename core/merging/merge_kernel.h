// The merge on a GPU: residual add, size-weighted average and LayerNorm in one pass over the
// tokens.
//
// Note [The merge rides on a pass that exists anyway]
// Between attention and MLP every token is read, the attention's output added, the sum written, and
// its LayerNorm written. A merged block does the same pass, but a warp makes one *output* token: it
// sums its members' (x + branch), weighted by size, and normalises the result while it is still in
// registers. Members come in a fixed order (MatchOutputs), so no float is ever added atomically and
// the result is bitwise repeatable. Sums are float32, whatever x is.
#pragma once

#include "cuda/portable.h"

namespace tome::cuda {

/// Combine of merge.h.
enum class MergeCombine { kWeightedMean, kMean, kMax, kKeepOne };

/// X is the type of the residual stream, Y that of the branch and of the normalised tokens.
template <class X, class Y>
struct MergeParams {
  const X* x = nullptr;                   ///< [batch, tokens_in, channels]
  const Y* branch = nullptr;              ///< same shape: what the residual add adds; null: nothing
  const float* branch_scale = nullptr;    ///< [channels], layer scale; null: 1
  const float* branch_bias = nullptr;     ///< [channels], added before the scale; null: 0
  const float* size = nullptr;            ///< [batch, tokens_in]; null: ones
  const int32_t* member_begin = nullptr;  ///< as in MatchOutputs; null: nothing merges
  const int32_t* members = nullptr;
  X* x_out = nullptr;                  ///< [batch, tokens_out, channels]; null: only the LayerNorm
  float* size_out = nullptr;           ///< [batch, tokens_out]; null: not wanted
  const uint8_t* parity = nullptr;     ///< [batch, tokens_in], of each token's place in the clip
  uint8_t* parity_out = nullptr;       ///< [batch, tokens_out]; null: not wanted
  const float* norm_weight = nullptr;  ///< [channels]
  const float* norm_bias = nullptr;    ///< [channels]
  Y* norm_out = nullptr;               ///< [batch, tokens_out, channels]; null: no LayerNorm
  float norm_eps = 1e-6F;
  int batch = 0, tokens_in = 0, tokens_out = 0, channels = 0;
  MergeCombine combine = MergeCombine::kWeightedMean;
};

template <class T>
TOME_DEVICE void load8(const T* from, int count, float (&to)[8]) {
  if (count >= 8 && is_aligned16(from)) {
    alignas(16) T raw[8];
    TOME_UNROLL
    for (size_t i = 0; i < sizeof(raw) / 16; ++i) {
      reinterpret_cast<Bytes16*>(raw)[i] = reinterpret_cast<const Bytes16*>(from)[i];
    }
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) to[i] = to_float(raw[i]);
    return;
  }
  TOME_UNROLL
  for (int i = 0; i < 8; ++i) to[i] = i < count ? to_float(from[i]) : 0.0F;
}

template <class T>
TOME_DEVICE void store8(const float (&from)[8], int count, T* to) {
  if (count >= 8 && is_aligned16(to)) {
    alignas(16) T raw[8];
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) raw[i] = from_float<T>(from[i]);
    TOME_UNROLL
    for (size_t i = 0; i < sizeof(raw) / 16; ++i) {
      reinterpret_cast<Bytes16*>(to)[i] = reinterpret_cast<const Bytes16*>(raw)[i];
    }
    return;
  }
  TOME_UNROLL
  for (int i = 0; i < 8; ++i) {
    if (i < count) to[i] = from_float<T>(from[i]);
  }
}

template <class Ctx>
TOME_KERNEL float sum_over_warp(const Ctx& ctx, float value) {
  TOME_UNROLL
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value += ctx.shuffle_xor(value, mask);
  return value;
}

/// One output token in a warp's registers: kSlices times 8 channels for each lane.
template <int kSlices>
struct TokenRow {
  float value[kSlices][8];

  static TOME_DEVICE int channel(int slice, int lane) { return (slice * kWarpSize + lane) * 8; }
};

/// (x + scale * (branch + bias)) of one input token.
template <class X, class Y>
TOME_DEVICE void load_sum(const MergeParams<X, Y>& p, int64_t token, int channel, float (&out)[8]) {
  const int count = p.channels - channel;
  load8(p.x + token * p.channels + channel, count, out);
  if (p.branch == nullptr) return;
  float branch[8], bias[8] = {0, 0, 0, 0, 0, 0, 0, 0}, scale[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  load8(p.branch + token * p.channels + channel, count, branch);
  if (p.branch_bias != nullptr) load8(p.branch_bias + channel, count, bias);
  if (p.branch_scale != nullptr) load8(p.branch_scale + channel, count, scale);
  TOME_UNROLL
  for (int i = 0; i < 8; ++i) out[i] += scale[i] * (branch[i] + bias[i]);
}

struct RowNorm {
  const float* weight;  ///< [channels]
  const float* bias;    ///< [channels]
  float eps;
  int channels;
};

/// LayerNorm of a row in registers: mean first, then variance, so that nothing cancels.
template <class Ctx, class Y, int kSlices>
TOME_KERNEL void normalise_row(const Ctx& ctx, const RowNorm& p, const TokenRow<kSlices>& row,
                               Y* out) {
  float sum = 0;
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) sum += row.value[s][i];  // zeros past the last channel
  }
  const float mean = sum_over_warp(ctx, sum) / static_cast<float>(p.channels);
  float squares = 0;
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    const int count = p.channels - TokenRow<kSlices>::channel(s, ctx.lane());
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) {
      const float d = row.value[s][i] - mean;
      squares += i < count ? d * d : 0.0F;
    }
  }
  const float variance = sum_over_warp(ctx, squares) / static_cast<float>(p.channels);
  const float scale = 1.0F / sqrtf(variance + p.eps);
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    const int channel = TokenRow<kSlices>::channel(s, ctx.lane());
    const int count = p.channels - channel;
    if (count <= 0) continue;
    float weight[8], bias[8], y[8];
    load8(p.weight + channel, count, weight);
    load8(p.bias + channel, count, bias);
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) y[i] = (row.value[s][i] - mean) * scale * weight[i] + bias[i];
    store8(y, count, out + channel);
  }
}

constexpr int kMergeThreads = 128;

/// Members of one output token, as offsets into the batch's rows.
struct Members {
  const int32_t* list;  ///< null: the token of the same place
  int64_t first_token;  ///< of the sample
  int own, begin, end;

  TOME_DEVICE int64_t token(int m) const { return first_token + (list == nullptr ? own : list[m]); }
  TOME_DEVICE int count() const { return end - begin; }
};

template <class X, class Y>
TOME_DEVICE Members members_of(const MergeParams<X, Y>& p, int64_t out_token) {
  const auto sample = out_token / p.tokens_out;
  const int place = static_cast<int>(out_token % p.tokens_out);
  const int64_t first = sample * p.tokens_in;
  if (p.members == nullptr) return {nullptr, first, place, 0, 1};
  const int32_t* begin = p.member_begin + sample * (p.tokens_out + 1) + place;
  return {p.members + first, first, place, begin[0], begin[1]};
}

/// Weight of member m; they add up to 1 (or, for max, are not used).
template <class X, class Y>
TOME_DEVICE float member_weight(const MergeParams<X, Y>& p, const Members& members, int m,
                                float total) {
  if (members.count() == 1) return 1.0F;  // x * s / s would round
  switch (p.combine) {
    case MergeCombine::kMean:
      return 1.0F / static_cast<float>(members.count());
    case MergeCombine::kKeepOne:
      return m == members.begin ? 1.0F : 0.0F;
    default:
      return (p.size == nullptr ? 1.0F : p.size[members.token(m)]) / total;
  }
}

/// Where the largest member lay; of equals, the kept token's place stands, then the lowest.
template <class X, class Y>
TOME_DEVICE uint8_t parity_of_largest(const MergeParams<X, Y>& p, const Members& members) {
  int64_t leader = members.token(members.begin);
  for (int m = members.begin + 1; m < members.end; ++m) {
    const int64_t token = members.token(m);
    if (p.size != nullptr && p.size[token] > p.size[leader]) leader = token;
  }
  return p.parity[leader];
}

/// A warp for each output token: grid (ceil(batch * tokens_out / 4)), 128 threads, no shared
/// memory. kSlices * 256 >= channels.
template <class Ctx, class X, class Y, int kSlices>
TOME_KERNEL void merge_kernel(Ctx& ctx, const MergeParams<X, Y>& p) {
  const int64_t out_token =
      static_cast<int64_t>(ctx.block_x()) * (ctx.threads() / kWarpSize) + ctx.warp();
  if (out_token >= static_cast<int64_t>(p.batch) * p.tokens_out) return;  // the whole warp leaves
  const Members members = members_of(p, out_token);
  float total = 0;
  for (int m = members.begin; m < members.end; ++m) {
    total += p.size == nullptr ? 1.0F : p.size[members.token(m)];
  }

  TokenRow<kSlices> row;
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    TOME_UNROLL
    for (int i = 0; i < 8; ++i) row.value[s][i] = 0;
  }
  for (int m = members.begin; m < members.end; ++m) {
    const int64_t token = members.token(m);
    const float weight = member_weight(p, members, m, total);
    TOME_UNROLL
    for (int s = 0; s < kSlices; ++s) {
      const int channel = TokenRow<kSlices>::channel(s, ctx.lane());
      if (channel >= p.channels) continue;
      float value[8];
      load_sum(p, token, channel, value);
      TOME_UNROLL
      for (int i = 0; i < 8; ++i) {
        float& sum = row.value[s][i];
        if (p.combine == MergeCombine::kMax) {
          sum = m == members.begin ? value[i] : max_of(sum, value[i]);
        } else {
          sum += weight * value[i];
        }
      }
    }
  }
  TOME_UNROLL
  for (int s = 0; s < kSlices; ++s) {
    const int channel = TokenRow<kSlices>::channel(s, ctx.lane());
    if (p.x_out != nullptr && channel < p.channels) {
      store8(row.value[s], p.channels - channel, p.x_out + out_token * p.channels + channel);
    }
  }
  if (p.size_out != nullptr && ctx.lane() == 0) p.size_out[out_token] = total;
  if (p.parity_out != nullptr && ctx.lane() == 0) {
    p.parity_out[out_token] = parity_of_largest(p, members);
  }
  if (p.norm_out == nullptr) return;
  normalise_row(ctx, RowNorm{p.norm_weight, p.norm_bias, p.norm_eps, p.channels}, row,
                p.norm_out + out_token * p.channels);
}

/// Sources on demand: place now of each of the tokens before block 0 (merge_source of merge.h).
struct SourceParams {
  const int64_t* source = nullptr;  ///< [batch, tokens_0]; null: the identity
  const int64_t* target = nullptr;  ///< [batch, tokens_in]
  int64_t* source_out = nullptr;    ///< [batch, tokens_0]; may be `source`
  int batch = 0, tokens_0 = 0, tokens_in = 0;
};

template <class Ctx>
TOME_KERNEL void source_kernel(Ctx& ctx, const SourceParams& p) {
  const int64_t i = static_cast<int64_t>(ctx.block_x()) * ctx.threads() + ctx.thread();
  if (i >= static_cast<int64_t>(p.batch) * p.tokens_0) return;
  const int64_t sample = i / p.tokens_0;
  const int64_t place = p.source == nullptr ? i % p.tokens_0 : p.source[i];
  p.source_out[i] = p.target[sample * p.tokens_in + place];
}

}  // namespace tome::cuda
