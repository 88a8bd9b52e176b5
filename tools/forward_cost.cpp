#include "forward_cost.h"

#include "merging/schedule.h"

namespace tome::cli {

double forward_gflops(const ViTConfig& config, const std::vector<int64_t>& r, int64_t frames,
                      int64_t merged_before) {
  TokenGeometry geometry = token_geometry(config, frames);
  const int64_t patch_row = config.tubelet * config.channels * config.patch * config.patch;
  const int64_t embed = (geometry.tokens - geometry.protected_tokens) * config.dim * patch_row;
  const int64_t head = config.head_inputs() * config.classes * (config.distilled_head ? 2 : 1);
  geometry.tokens -= merged_before;
  return 2e-9 * static_cast<double>(embed + block_macs(r, geometry) + head);
}

}  // namespace tome::cli
