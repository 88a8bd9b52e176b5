// A failure as the application sees it.
#pragma once

#include <gst/gst.h>

#include "core_session.h"

namespace tome::gst {

/// Posts an error or a warning of `element` on the bus. Any thread.
void post_failure(GstElement* element, GstMessageType type, const Failure& failure);

}  // namespace tome::gst
