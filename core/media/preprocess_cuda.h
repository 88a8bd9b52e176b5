// Pre-processing on a CUDA device: enqueues the kernel of preprocess_kernel.h.
#pragma once

#include <array>

#include "cuda/types.h"
#include "media/preprocess_kernel.h"

namespace tome::cuda {

/// One batch of frames. All pointers are device memory; the jobs' own (samples and taps) too.
struct PreprocessRequest {
  const FrameJob* jobs = nullptr;  ///< [frames], from frame_job (frame_job.h)
  void* patches = nullptr;  ///< [frames, (height / patch) * (width / patch), 3 * patch * patch]
  ElementType type = ElementType::kBfloat16;  ///< of the patches
  int frames = 0, width = 0, height = 0, patch = 16;
  std::array<float, 3> mean{}, scale{}, fill{};  ///< normalisation_of and fill_of (colour.h)
};

/// Enqueues the pre-processing of all frames in one launch: rows as preprocess_to_patches
/// (preprocess.h) writes them, equal to the CPU's before they are rounded to `type`.
/// @throws Error kSettings for sizes that make no sense, kDevice if the launch fails
void preprocess_frames(const PreprocessRequest& request, Stream stream);

}  // namespace tome::cuda
