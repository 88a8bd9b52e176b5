#include "cuda/launch.cuh"
#include "merging/match_request.h"

namespace tome::cuda {

size_t match_workspace_bytes(int batch, int n_a, int r) {
  MatchScratch scratch;
  return lay_out_match_scratch(nullptr, batch, n_a, r, &scratch);
}

void match_tokens(const MatchRequest& request, Stream stream) {
  CudaLauncher launcher(stream, "matching");
  run_match(launcher, request);
}

}  // namespace tome::cuda
