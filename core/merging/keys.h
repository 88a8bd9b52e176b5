// Keys made comparable.
#pragma once

#include <ATen/core/Tensor.h>

namespace tome {

/// Rows scaled to unit length; a zero row stays zero, so its cosine with everything is 0.
/// @param keys  float32 [..., C]
at::Tensor unit_keys(const at::Tensor& keys);

}  // namespace tome
