#include "video_picture.h"

#include <algorithm>

namespace tome::gst {
namespace {

/// Why a GstVideoMeta contradicts the caps; empty if it does not. GStreamer answers such a buffer
/// with a critical warning of its own, which aborts programs that ask for it.
std::string contradiction(const GstVideoMeta& meta, const GstVideoInfo& info) {
  if (meta.format == GST_VIDEO_INFO_FORMAT(&info) && meta.width >= static_cast<guint>(info.width) &&
      meta.height >= static_cast<guint>(info.height) &&
      meta.n_planes == GST_VIDEO_INFO_N_PLANES(&info)) {
    return {};
  }
  return std::string("a buffer's GstVideoMeta says ") + gst_video_format_to_string(meta.format) +
         " " + size_text(meta.width, meta.height) + ": expected " + GST_VIDEO_INFO_NAME(&info) +
         " of at least " + size_text(info.width, info.height) + ", as the caps say";
}

/// Pixels, across or down, of which one sample of the coarsest component is made.
int coarsest(const guint (&shifts)[GST_VIDEO_MAX_COMPONENTS], guint components) {
  return 1 << *std::max_element(shifts, shifts + components);
}

}  // namespace

std::string size_text(int64_t width, int64_t height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

std::optional<Picture> picture_of(GstBuffer* buffer, const GstVideoInfo& info, std::string& error) {
  error.clear();
  const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
  if (meta != nullptr) error = contradiction(*meta, info);
  if (!error.empty()) return std::nullopt;
  const GstVideoCropMeta* crop = gst_buffer_get_video_crop_meta(buffer);
  if (crop == nullptr) return Picture{0, 0, info.width, info.height};
  const int64_t width = std::min<int64_t>(meta != nullptr ? meta->width : info.width, G_MAXINT);
  const int64_t height = std::min<int64_t>(meta != nullptr ? meta->height : info.height, G_MAXINT);
  // 64 bits: x + width of a hostile meta wraps around in 32.
  if (crop->width > 0 && crop->height > 0 && int64_t{crop->x} + crop->width <= width &&
      int64_t{crop->y} + crop->height <= height) {
    return Picture{static_cast<int>(crop->x), static_cast<int>(crop->y),
                   static_cast<int>(crop->width), static_cast<int>(crop->height)};
  }
  error = "a buffer's GstVideoCropMeta says " + size_text(crop->width, crop->height) + " at (" +
          std::to_string(crop->x) + ", " + std::to_string(crop->y) +
          "): expected a part of its picture of " + size_text(width, height);
  return std::nullopt;
}

bool narrow_to(GstVideoFrame& frame, const Picture& picture) {
  const GstVideoFormatInfo& format = *frame.info.finfo;
  // Such as v210, whose pixels are not whole bytes.
  if (GST_VIDEO_FORMAT_INFO_IS_COMPLEX(&format) && (picture.x != 0 || picture.y != 0)) return false;
  const int x = picture.x - picture.x % coarsest(format.w_sub, format.n_components);
  const int y = picture.y - picture.y % coarsest(format.h_sub, format.n_components);
  for (guint plane = 0; plane < format.n_planes; ++plane) {
    guint component = 0;
    while (format.plane[component] != plane) ++component;
    const gint64 across =
        int64_t{x >> format.w_sub[component]} * GST_VIDEO_FRAME_COMP_PSTRIDE(&frame, component);
    const gint64 down =
        int64_t{y >> format.h_sub[component]} * GST_VIDEO_FRAME_PLANE_STRIDE(&frame, plane);
    frame.data[plane] = static_cast<guint8*>(frame.data[plane]) + down + across;
  }
  frame.info.width = picture.width;
  frame.info.height = picture.height;
  return true;
}

}  // namespace tome::gst
