// precision=auto on the CPU, which is measured.
#pragma once

#include <cstdint>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "vit/model.h"

namespace tome {

/// The model in bf16 where this processor multiplies that natively and it saves enough time to be
/// worth its rounding, else in fp32. Runs forwards of both, on the calling thread and its threads.
/// @param frames  of one request
std::shared_ptr<const VisionTransformer> build_fastest_on_cpu(const Checkpoint& checkpoint,
                                                              int64_t frames);

}  // namespace tome
