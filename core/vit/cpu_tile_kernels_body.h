// A set of kernels with tiles for products. Included after the vectors, elements and Tiles.
#pragma once

#include "vit/cpu_attention_body.h"
#include "vit/cpu_product_body.h"
#include "vit/cpu_rows_body.h"
#include "vit/cpu_tile_attention_body.h"
#include "vit/cpu_tile_product_body.h"

namespace tome {
namespace {

/// The vectors' set, but for products and attention.
template <class E>
CpuKernels tile_kernels_of(const char* name, const ByteKernels* bytes) {
  CpuKernels kernels = kernels_of<E>(name, bytes);
  kernels.block_rows = kTileBlockRows;
  kernels.product = tile_product<OfElements<E>, PairTiles>;
  kernels.pack_head = pack_head<E, true>;
  kernels.attend = tile_attend<E>;
  return kernels;
}

}  // namespace
}  // namespace tome
