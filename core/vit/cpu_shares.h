// How a product is shared out to the threads of a forward.
#pragma once

#include <cstdint>

#include "vit/cpu_kernels.h"

namespace tome {

/// The beginning of part `part` of `parts` nearly equal ones.
inline int64_t share(int64_t count, int64_t part, int64_t parts) { return count * part / parts; }

/// Bytes of a core's second-level cache.
int64_t core_cache_bytes();

/// Note [Rows that stay]: what one core wrote and another reads goes from cache to cache, a line
/// at a time. Where the weights of a product take no more than half of each core's own cache,
/// threads share its rows, the same ones in every such loop, and each goes through all columns: a
/// ViT-Ti on two cores with AMX is 1.2 to 1.3 times as fast as with columns shared, in
/// float32 1.15. Of larger weights too much would come from further away for each thread, and
/// columns are shared: by rows a ViT-S takes 0.8 to 1.05 of the time (as its core is idle besides
/// or not), a ViT-B 1.2.
/// @param weights  in bytes
inline bool fit_a_core(int64_t weights, int64_t cache = core_cache_bytes()) {
  return 2 * weights <= cache;
}

/// Chunks of rows, by groups of panels.
struct ProductShares {
  int64_t chunks = 1, groups = 1;
  bool resident = false;  ///< as ProductArgs::resident
};

/// @param rows_stay  with the thread that has them, where the weights fit a core
ProductShares share_out(const CpuKernels& kernels, const ProductArgs& args, int threads,
                        bool rows_stay);

}  // namespace tome
