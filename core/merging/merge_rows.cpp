#include "merging/merge_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace tome {
namespace {

struct SampleRows {
  const float *x, *size;
  const int64_t* target;
  float *out, *out_size;
  int64_t tokens_in, tokens_out, dim;
};

void merge_sample(const SampleRows& s) {
  std::fill_n(s.out_size, s.tokens_out, 0.0F);
  for (int64_t i = 0; i < s.tokens_in; ++i) s.out_size[s.target[i]] += s.size[i];
  // A token that nothing merges into is copied: x * s / s would round.
  std::vector<int32_t> members(static_cast<size_t>(s.tokens_out), 0);
  for (int64_t i = 0; i < s.tokens_in; ++i) ++members[s.target[i]];
  std::vector<uint8_t> started(static_cast<size_t>(s.tokens_out), 0);
  for (int64_t i = 0; i < s.tokens_in; ++i) {
    const int64_t place = s.target[i];
    const float* in = s.x + i * s.dim;
    float* out = s.out + place * s.dim;
    if (members[place] == 1) {
      std::copy_n(in, s.dim, out);
      continue;
    }
    const float weight = s.size[i] / s.out_size[place];
    if (started[place] == 0) {
      started[place] = 1;
#pragma omp simd
      for (int64_t c = 0; c < s.dim; ++c) out[c] = weight * in[c];
    } else {
#pragma omp simd
      for (int64_t c = 0; c < s.dim; ++c) out[c] += weight * in[c];
    }
  }
}

}  // namespace

MergedTokens merge_rows(const at::Tensor& x, const at::Tensor& size, const Matching& matching) {
  const int64_t batch = x.size(0);
  const int64_t dim = x.size(2);
  const at::Tensor rows = x.contiguous();
  const at::Tensor sizes = size.contiguous();
  const at::Tensor target = matching.target.contiguous();
  MergedTokens merged{at::empty({batch, matching.tokens_out, dim}, rows.options()),
                      at::empty({batch, matching.tokens_out}, sizes.options())};
  const int64_t n_in = matching.tokens_in;
  const int64_t n_out = matching.tokens_out;
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      merge_sample({rows.data_ptr<float>() + b * n_in * dim, sizes.data_ptr<float>() + b * n_in,
                    target.data_ptr<int64_t>() + b * n_in,
                    merged.x.data_ptr<float>() + b * n_out * dim,
                    merged.size.data_ptr<float>() + b * n_out, n_in, n_out, dim});
    }
  });
  return merged;
}

}  // namespace tome
