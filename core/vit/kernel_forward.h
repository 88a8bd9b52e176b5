// From tensors and options to a run of the CPU's own kernels.
#pragma once

#include "vit/cpu_forward.h"
#include "vit/model.h"

namespace tome {

/// Note [Two forwards on the CPU]: what users run goes through kernels of ours (CpuForward). The
/// operators of model.cpp are the readable original: they train, trace, run on every device and
/// processor and know all the ways to merge that exist for comparison. Tests hold one against the
/// other.
/// @return whether the kernels know these options, and no gradient of the patches is wanted
bool kernels_apply(const at::Tensor& patches, const ForwardOptions& options);

/// VisionTransformer::forward of a model for which kernels_apply.
/// @param patches  [B, T, n, 3 * p * p], B >= 1, checked
ForwardOutput forward_on_kernels(const CpuForward& cpu, const ViTConfig& config,
                                 const at::Tensor& patches, const ForwardOptions& options);

}  // namespace tome
