#include <string>

#include "cuda/element_type.h"
#include "cuda/launch.cuh"
#include "media/preprocess_cuda.h"

namespace tome::cuda {
namespace {

void check_request(const PreprocessRequest& q) {
  if (q.frames < 1 || q.frames > 65535 || q.patch < 1 || q.width < 1 || q.height < 1 ||
      q.width % q.patch != 0 || q.height % q.patch != 0) {
    throw Error(ErrorKind::kSettings,
                "pre-processing: " + std::to_string(q.frames) + " frames to " +
                    std::to_string(q.width) + "x" + std::to_string(q.height) + " in patches of " +
                    std::to_string(q.patch) +
                    "; expected 1 to 65535 frames and a patch that divides both sides");
  }
}

template <class T>
void launch(const PreprocessRequest& q, Stream stream) {
  PreprocessParams<T> p;
  p.jobs = q.jobs;
  p.patches = static_cast<T*>(q.patches);
  p.frames = q.frames;
  p.width = q.width;
  p.height = q.height;
  p.patch = q.patch;
  for (int c = 0; c < 3; ++c) {
    p.mean[c] = q.mean[c];
    p.scale[c] = q.scale[c];
    p.fill[c] = q.fill[c];
  }
  CudaLauncher launcher(stream, "pre-processing");
  launch_preprocess(launcher, p);
}

}  // namespace

void preprocess_frames(const PreprocessRequest& request, Stream stream) {
  check_request(request);
  with_element_type(request.type,
                    [&](auto tag) { launch<typename decltype(tag)::Type>(request, stream); });
}

}  // namespace tome::cuda
