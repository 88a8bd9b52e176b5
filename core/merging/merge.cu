#include "cuda/launch.cuh"
#include "merging/merge_request.h"

namespace tome::cuda {

void merge_tokens(const MergeRequest& request, Stream stream) {
  CudaLauncher launcher(stream, "merging");
  run_merge(launcher, request);
}

void merge_sources(const SourceParams& params, Stream stream) {
  CudaLauncher launcher(stream, "merging sources");
  run_sources(launcher, params);
}

}  // namespace tome::cuda
