#include <string>

#include "cuda/launch.cuh"
#include "merging/partition_cuda.h"

namespace tome::cuda {

void split_by_parity(const PartitionParams& params, Stream stream, LaunchOrder order) {
  if (params.batch < 1 || params.batch > 65535 || params.n_fixed < 0 || params.free_tokens() < 1) {
    throw Error(ErrorKind::kSettings, "partition: batch " + std::to_string(params.batch) + ", " +
                                          std::to_string(params.tokens) + " tokens, " +
                                          std::to_string(params.n_fixed) +
                                          " protected; expected 1 to 65535 samples and tokens "
                                          "that may merge");
  }
  CudaLauncher launcher(stream, "partition", order);
  launch_partition(launcher, params);
}

}  // namespace tome::cuda
