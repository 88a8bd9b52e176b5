#include "vit/forward_options.h"

namespace tome {

Partition default_partition(int64_t frames) {
  return frames > 1 ? Partition::kCheckerboard : Partition::kAlternating;
}

bool is_proportional(PropAttn wish, const ViTConfig& config) {
  return wish == PropAttn::kAuto ? config.prop_attn_auto : wish == PropAttn::kOn;
}

int64_t asked_of_block(const ForwardOptions& options, size_t block, int64_t left, int64_t all) {
  if (block >= options.r.size()) return 0;
  return left == all ? options.r[block] : (2 * options.r[block] * left + all) / (2 * all);
}

}  // namespace tome
