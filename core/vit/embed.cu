#include <string>

#include "cuda/launch.cuh"
#include "vit/embed_cuda.h"
#include "vit/embed_request.h"

namespace tome::cuda {

void embed_tokens(const EmbedRequest& request, Stream stream) {
  CudaLauncher launcher(stream, "embedding");
  run_embed(launcher, request);
}

void pool_tokens(const PoolRequest& request, Stream stream) {
  CudaLauncher launcher(stream, "pooling");
  run_pool(launcher, request);
}

}  // namespace tome::cuda
