// Products in 8 bits by tiles. Included after the vectors, elements, Bytes and Tiles.
#pragma once

#include "vit/cpu_bytes_body.h"
#include "vit/cpu_tile_product_body.h"

namespace tome {
namespace {

template <class E>
ByteKernels tile_byte_kernels_of() {
  return {Bytes::kInPairs, pack_byte_weights, quantise<E>, tile_product<OfBytes<E>, ByteTiles>};
}

}  // namespace
}  // namespace tome
