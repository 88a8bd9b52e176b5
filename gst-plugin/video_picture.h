// The part of a buffer that is the picture: all of it, or what a GstVideoCropMeta leaves.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <optional>
#include <string>

namespace tome::gst {

// Note [Cropped buffers]
// An element that crops without a copy (videocrop, decoders of padded pictures) leaves the pixels
// as they are: the caps have the size of what is left, the GstVideoMeta that of all there is, and
// the GstVideoCropMeta says where the one lies in the other. Downstream's offer of that meta passes
// through our ALLOCATION answers, so we keep to it: pixels outside are not looked at and not drawn
// on, and regions count from the cropped picture. Where a chroma sample belongs to several pixels a
// picture can only begin at the first of them: an odd offset is rounded down, by one pixel.

/// A rectangle in pixels of the picture that a buffer's GstVideoMeta, else its caps, describe.
struct Picture {
  int x = 0, y = 0, width = 0, height = 0;
};

/// What there is to see of `buffer`, whose caps are `info`. Nothing, and `error` says why, if its
/// metas contradict the caps or each other.
std::optional<Picture> picture_of(GstBuffer* buffer, const GstVideoInfo& info, std::string& error);

/// Narrows a mapped frame to `picture`: planes begin there, and width and height are its. False if
/// the format has no pixel there that begins with a byte; none of TOME_GST_VIDEO_FORMATS is such.
bool narrow_to(GstVideoFrame& frame, const Picture& picture);

/// "1920x1080"
std::string size_text(int64_t width, int64_t height);

}  // namespace tome::gst
