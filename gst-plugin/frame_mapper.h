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

/// Those that GStreamer's CUDA elements know too.
#define TOME_GST_CUDA_FORMATS \
  "{ NV12, RGBA, BGRA, RGBx, BGRx, RGB, BGR, I420, P010_10LE, YUY2, UYVY }"

/// The caps feature of frames in CUDA memory.
inline constexpr const char* kCudaFeature = "memory:CUDAMemory";

/// Warns in the log of caps with PQ or HLG, whose frames are read as any other picture: flat and
/// grey, or too bright.
void notice_hdr(GstElement* element, const GstVideoInfo& info);

/// Maps `buffer` for reading, with the strides and offsets of its GstVideoMeta if it has one, and
/// fills in format, size, pixel aspect, planes, colorimetry, timestamps and `regions` (kept until
/// release, in pixels of the frame). With a GstVideoCropMeta the frame is the cropped picture. The
/// frame's `release` unmaps it: the core calls it, or the caller if the core never gets it.
/// Nothing, and `error` says why, if the buffer cannot hold such a picture.
/// `flags` may ask for another way of mapping (GST_MAP_CUDA); memory is TOME_MEMORY_HOST either
/// way.
std::optional<TomeFrame> map_frame(GstBuffer* buffer, const GstVideoInfo& info,
                                   std::vector<TomeRegion> regions, std::string& error,
                                   GstMapFlags flags = GST_MAP_READ);

}  // namespace tome::gst
