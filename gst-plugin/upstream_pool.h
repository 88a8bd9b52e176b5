// The pool from which upstream takes its buffers.
#pragma once

#include <gst/gst.h>

namespace tome::gst {

// Note [A pool that runs dry]
// Frames in flight are out of upstream's pool. ALLOCATION asks for a pool that is large enough, but
// not every element heeds it: one with a fixed number of buffers then sleeps until a buffer comes
// back, and no frame comes that could fill the batch for which its buffers wait.

/// Whether all buffers of the bounded pool that `buffer` came from are in use. False for a buffer
/// without a pool, and for pools that hand out buffers in a way of their own (a capture device's:
/// there, asking for a buffer takes a picture); those wait for batch-timeout.
bool pool_is_dry(const GstBuffer* buffer);

}  // namespace tome::gst
