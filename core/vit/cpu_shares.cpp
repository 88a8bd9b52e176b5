#include "vit/cpu_shares.h"

#include <algorithm>

#if defined(__unix__)
#include <unistd.h>
#endif

namespace tome {
namespace {

/// Rows of a product's chunk: with two panels of weights they stay in the second-level cache.
constexpr int64_t kChunkBytes = 640 << 10;

/// Rows times steps times columns of a product's item: microseconds, beside which taking one is
/// nothing.
constexpr int64_t kLeastWork = 2 << 20;

/// Rows of an item where rows stay with their threads.
constexpr int64_t kStayingRows = 32;

}  // namespace

int64_t core_cache_bytes() {
  constexpr int64_t kUnknown = 1 << 20;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : kUnknown;
#else
  return kUnknown;
#endif
}

ProductShares share_out(const CpuKernels& kernels, const ProductArgs& args, int threads,
                        bool rows_stay) {
  const int64_t panels = kernels.panels(args.columns);
  if (rows_stay && args.rows >= threads * kernels.block_rows &&
      fit_a_core(panels * kernels.panel * args.steps * 4)) {
    const int64_t blocks = (args.rows + kStayingRows - 1) / kStayingRows;
    return {(blocks + threads - 1) / threads * threads, 1, true};
  }
  const int64_t part_bytes = std::min(args.steps, kMostPartSteps) * 4;
  const int64_t most_rows = std::max(2 * kernels.block_rows, kChunkBytes / part_bytes);
  int64_t chunks = (args.rows + most_rows - 1) / most_rows;
  if (chunks * panels < int64_t{3} * threads) {
    const int64_t wanted = (3 * threads + panels - 1) / panels;
    chunks = std::max(chunks, std::min(wanted, args.rows / kernels.block_rows + 1));
  }
  // Parts of a long inner dimension are gone through for a group of panels at once.
  if (args.steps > kMostPartSteps && args.epilogue == Epilogue::kAdd) {
    return {chunks, std::clamp<int64_t>((4 * threads + chunks - 1) / chunks, 1, panels), false};
  }
  const int64_t work = args.rows / chunks * args.steps * kernels.panel;
  const int64_t fewest = std::min<int64_t>(panels, 3 * threads);
  return {chunks, std::clamp(panels * work / kLeastWork, fewest, panels), false};
}

}  // namespace tome
