#include "merging/keys.h"

#include <ATen/ATen.h>

namespace tome {

at::Tensor unit_keys(const at::Tensor& keys) {
  const at::Tensor norm = keys.norm(2, -1, /*keepdim=*/true);
  return keys.div(at::where(norm == 0, at::ones_like(norm), norm));
}

}  // namespace tome
