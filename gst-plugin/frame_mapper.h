// From a GstBuffer to the core's frame, without a copy.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/c_api.h"

namespace tome::gst {

/// The layouts of core/media/frame.h, as caps spell them.
#define TOME_GST_VIDEO_FORMATS \
  "{ RGB, BGR, RGBx, BGRx, RGBA, BGRA, GRAY8, NV12, I420, YUY2, UYVY, P010_10LE }"

/// Maps `buffer` for reading, with the strides and offsets of its GstVideoMeta if it has one, and
/// fills in format, size, planes, colorimetry, timestamps and `regions` (kept until release).
/// The frame's `release` unmaps it: the core calls it, or the caller if the core never gets it.
/// Nothing, and `error` says why, if the buffer cannot hold such a picture.
std::optional<TomeFrame> map_frame(GstBuffer* buffer, const GstVideoInfo& info,
                                   std::vector<TomeRegion> regions, std::string& error);

}  // namespace tome::gst
