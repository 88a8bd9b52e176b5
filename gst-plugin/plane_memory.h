// Whether the memory of a mapped frame holds what its GstVideoMeta says.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <cstdint>
#include <string>

namespace tome::gst {

// Note [Metas that lie]
// A GstVideoMeta comes with the stream, and gst_video_frame_map() looks only whether each plane's
// first byte is there. So nobody reads or writes pixels before the rows are known to lie in what is
// mapped: of frames for tomeclassify the core sees to that, which is told the bytes of each plane;
// of frames that GStreamer draws on for tomeoverlay, in any format, outside_memory() does.

/// Bytes of a map on either side of where a plane begins; rows with a negative stride go back.
struct PlaneMemory {
  int64_t before = 0, from = 0;
};

/// Of the map that holds the plane's first byte; nothing on either side if none does.
PlaneMemory plane_memory(const GstVideoFrame& frame, guint plane);

/// Which plane of a mapped frame, as narrow_to() leaves it, is not wholly in its memory, and why;
/// "" if all are. Strides of tiled formats must be GStreamer's own.
std::string outside_memory(const GstVideoFrame& frame);

/// Whether all rows of a mapped frame begin where numbers as long as its pixels may. GStreamer
/// writes pixels of 32 bits with instructions that fault elsewhere.
bool has_aligned_rows(const GstVideoFrame& frame);

}  // namespace tome::gst
