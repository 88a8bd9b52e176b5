#include "vit/forward_options.h"

#include <algorithm>

namespace tome {

Partition default_partition(int64_t frames) {
  return frames > 1 ? Partition::kCheckerboard : Partition::kAlternating;
}

bool is_proportional(PropAttn wish, const ViTConfig& config) {
  return wish == PropAttn::kAuto ? config.prop_attn_auto : wish == PropAttn::kOn;
}

int64_t asked_of_block(const ForwardOptions& options, size_t block, int64_t left, int64_t all) {
  if (block >= options.r.size()) return 0;
  const int64_t r = std::min(options.r[block], all);  // more there are not to merge
  return left == all ? r : (2 * r * left + all) / (2 * all);
}

}  // namespace tome
