#include "plane_memory.h"

#include <algorithm>
#include <optional>

namespace tome::gst {
namespace {

/// Runs of bytes, a stride apart.
struct Rows {
  int64_t count = 0, bytes = 0;
};

/// GStreamer's own of so many pixels; nothing if they are more than it takes.
std::optional<GstVideoInfo> usual_layout(const GstVideoFrame& frame, guint width, guint height) {
  GstVideoInfo usual;
  const GstVideoFormat format = GST_VIDEO_FRAME_FORMAT(&frame);
  if (gst_video_info_set_format(&usual, format, width, height) == FALSE) return std::nullopt;
  return usual;
}

/// All tiles of a plane, whose stride says how many there are: none if those are not the usual
/// ones.
Rows tiles_of(const GstVideoFrame& frame, guint plane) {
  const auto* meta = static_cast<const GstVideoMeta*>(frame.meta);
  const auto usual = usual_layout(frame, meta->width, meta->height);
  if (!usual || usual->stride[plane] != GST_VIDEO_FRAME_PLANE_STRIDE(&frame, plane)) return {};
  const bool last = plane + 1 == GST_VIDEO_FRAME_N_PLANES(&frame);
  const gsize end = last ? usual->size : usual->offset[plane + 1];
  return {1, static_cast<int64_t>(end - usual->offset[plane])};
}

/// What is read and written of a plane of a frame that has a meta.
Rows rows_of(const GstVideoFrame& frame, guint plane) {
  constexpr int64_t kPalette = int64_t{256} * 4;
  const GstVideoFormatInfo& format = *frame.info.finfo;
  if (GST_VIDEO_FORMAT_INFO_IS_TILED(&format)) return tiles_of(frame, plane);
  if (GST_VIDEO_FORMAT_INFO_HAS_PALETTE(&format) && plane == GST_VIDEO_COMP_PALETTE) {
    return {1, kPalette};
  }
  Rows rows;
  for (guint i = 0; i < format.n_components; ++i) {
    if (format.plane[i] != plane) continue;
    const int64_t across = GST_VIDEO_FORMAT_INFO_SCALE_WIDTH(&format, i, frame.info.width);
    rows.count = GST_VIDEO_FORMAT_INFO_SCALE_HEIGHT(&format, i, frame.info.height);
    rows.bytes = std::max(rows.bytes, across * GST_VIDEO_FORMAT_INFO_PSTRIDE(&format, i));
  }
  if (rows.bytes > 0 && !GST_VIDEO_FORMAT_INFO_IS_COMPLEX(&format)) return rows;
  // Of pixels that are no whole bytes GStreamer does not say how many a row has.
  const auto usual = usual_layout(frame, static_cast<guint>(frame.info.width),
                                  static_cast<guint>(frame.info.height));
  rows.bytes = usual ? usual->stride[plane] : 0;
  return rows;
}

/// Bytes of a plane's pixels where each is a number, or several of so many; 1 where neighbours
/// share samples or a pixel is no whole bytes: those GStreamer writes at any address.
uintptr_t unit_of(const GstVideoFormatInfo& format, guint plane) {
  uintptr_t bytes = 1;
  for (guint i = 0; i < format.n_components; ++i) {
    if (format.plane[i] != plane) continue;
    const gint pixel = GST_VIDEO_FORMAT_INFO_PSTRIDE(&format, i);
    if (pixel <= 0 || format.w_sub[i] > 0) return 1;
    bytes = std::max(bytes, static_cast<uintptr_t>(pixel & -pixel));
  }
  return bytes;
}

}  // namespace

PlaneMemory plane_memory(const GstVideoFrame& frame, guint plane) {
  const auto* data = static_cast<const uint8_t*>(frame.data[plane]);
  for (const GstMapInfo& map : frame.map) {
    if (map.memory == nullptr && map.data == nullptr) continue;
    // One past its end may be where the next plane's map begins.
    if (data >= map.data && data < map.data + map.size) {
      return {data - map.data, map.data + map.size - data};
    }
  }
  return {};
}

std::string outside_memory(const GstVideoFrame& frame) {
  // The caps' own layout then, for which gst_video_frame_map() has found the buffer large enough.
  if (frame.meta == nullptr) return "";
  for (guint plane = 0; plane < GST_VIDEO_FRAME_N_PLANES(&frame); ++plane) {
    const PlaneMemory memory = plane_memory(frame, plane);
    const Rows rows = rows_of(frame, plane);
    const int64_t stride = GST_VIDEO_FRAME_PLANE_STRIDE(&frame, plane);
    const int64_t last = (rows.count - 1) * stride;
    const bool inside = rows.bytes > 0 && std::max<int64_t>(-last, 0) <= memory.before &&
                        std::max<int64_t>(last, 0) + rows.bytes <= memory.from;
    if (inside) continue;
    return "plane " + std::to_string(plane) + " has a stride of " + std::to_string(stride) + ", " +
           std::to_string(memory.from) + " bytes from its first on and " +
           std::to_string(memory.before) + " before, expected " +
           (rows.bytes > 0
                ? std::to_string(rows.count) + " rows of " + std::to_string(rows.bytes) + " bytes"
                : "GStreamer's own layout");
  }
  return "";
}

bool has_aligned_rows(const GstVideoFrame& frame) {
  for (guint plane = 0; plane < GST_VIDEO_FRAME_N_PLANES(&frame); ++plane) {
    const uintptr_t unit = unit_of(*frame.info.finfo, plane);
    const auto stride = static_cast<uintptr_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, plane));
    if ((reinterpret_cast<uintptr_t>(frame.data[plane]) | stride) % unit != 0) return false;
  }
  return true;
}

}  // namespace tome::gst
