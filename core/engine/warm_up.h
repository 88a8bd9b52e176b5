// What is done before a model, or another schedule of it, is used: choose kernels, measure batches.
#pragma once

#include <cstdint>

#include "engine/session.h"
#include "engine/task.h"

namespace tome {

struct WarmedUp {
  Clock::duration full_batch{};
  int64_t fits = 0;  ///< requests that there was memory for
};

/// Runs the model as it will be used, so that the first frames of a stream do not pay for what is
/// done once, and measures a full batch, or one half as large where that does not fit, and so on.
/// On the worker.
/// @param captures  the session has graphs, which a larger batch makes it drop
/// @throws Error kOutOfMemory if one request does not fit
WarmedUp warm_up(DeviceSession& session, int64_t clip_length, const BatchKey& key,
                 int64_t batch_size, bool captures);

}  // namespace tome
