// What the tests of matchings share.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace tome::testing {

/// Sample b of [B, n] indices.
inline std::vector<int64_t> row(const at::Tensor& t, int64_t b = 0) {
  const at::Tensor r = t[b].contiguous();
  return {r.data_ptr<int64_t>(), r.data_ptr<int64_t>() + r.numel()};
}

}  // namespace tome::testing
