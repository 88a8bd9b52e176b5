// From a frame and its plan to what the GPU's pre-processing kernel reads.
#pragma once

#include <cstdint>
#include <vector>

#include "media/frame.h"
#include "media/plan.h"
#include "media/preprocess_kernel.h"

namespace tome {

/// All taps of a plan as one block, to be copied to the device once for each plan. Which taps it
/// holds depends on whether the plan was made for a packed layout.
std::vector<int32_t> pack_taps(const Plan& plan);

/// @param frame   its planes' addresses are those that the kernel will read: the frame's own where
///   it lies in CUDA memory, else those of a copy with the same strides
/// @param region  as checked_region gives it
/// @param plan    of this frame's layout and region
/// @param tables  device address of pack_taps(plan)
cuda::FrameJob frame_job(const Frame& frame, const Region& region, const Plan& plan,
                         const int32_t* tables);

}  // namespace tome
