// From an ElementType, known when the program runs, to the type that kernels are compiled for.
#pragma once

#include <cstddef>

#include "cuda/portable.h"
#include "cuda/types.h"

namespace tome::cuda {

constexpr size_t element_bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

/// Names a type without a value of it.
template <class T>
struct ElementTag {
  using Type = T;
};

/// Calls f with the ElementTag of float, Bf16 or Half.
template <class F>
void with_element_type(ElementType type, F&& f) {
  switch (type) {
    case ElementType::kFloat32:
      return f(ElementTag<float>{});
    case ElementType::kBfloat16:
      return f(ElementTag<Bf16>{});
    case ElementType::kFloat16:
      return f(ElementTag<Half>{});
  }
}

}  // namespace tome::cuda
