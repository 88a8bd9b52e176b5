#include "frame_mapper.h"

#include <memory>
#include <utility>

#include "plane_memory.h"
#include "video_picture.h"

namespace tome::gst {
namespace {

/// What lives from the mapping to the core's release callback.
struct Mapping {
  GstVideoFrame frame = GST_VIDEO_FRAME_INIT;
  std::vector<TomeRegion> regions;
};

void release_mapping(void* data) {
  const std::unique_ptr<Mapping> mapping(static_cast<Mapping*>(data));
  gst_video_frame_unmap(&mapping->frame);
}

std::optional<TomePixelFormat> pixel_format(GstVideoFormat format) {
  switch (format) {
    case GST_VIDEO_FORMAT_RGB:
      return TOME_FORMAT_RGB;
    case GST_VIDEO_FORMAT_BGR:
      return TOME_FORMAT_BGR;
    case GST_VIDEO_FORMAT_RGBx:
      return TOME_FORMAT_RGBX;
    case GST_VIDEO_FORMAT_BGRx:
      return TOME_FORMAT_BGRX;
    case GST_VIDEO_FORMAT_RGBA:
      return TOME_FORMAT_RGBA;
    case GST_VIDEO_FORMAT_BGRA:
      return TOME_FORMAT_BGRA;
    case GST_VIDEO_FORMAT_GRAY8:
      return TOME_FORMAT_GRAY8;
    case GST_VIDEO_FORMAT_NV12:
      return TOME_FORMAT_NV12;
    case GST_VIDEO_FORMAT_I420:
      return TOME_FORMAT_I420;
    case GST_VIDEO_FORMAT_YUY2:
      return TOME_FORMAT_YUY2;
    case GST_VIDEO_FORMAT_UYVY:
      return TOME_FORMAT_UYVY;
    case GST_VIDEO_FORMAT_P010_10LE:
      return TOME_FORMAT_P010;
    default:
      return std::nullopt;
  }
}

TomeColorMatrix color_matrix(const GstVideoInfo& info) {
  switch (info.colorimetry.matrix) {
    case GST_VIDEO_COLOR_MATRIX_BT601:
    case GST_VIDEO_COLOR_MATRIX_FCC:
      return TOME_MATRIX_BT601;
    case GST_VIDEO_COLOR_MATRIX_BT2020:
      return TOME_MATRIX_BT2020;
    case GST_VIDEO_COLOR_MATRIX_BT709:
    case GST_VIDEO_COLOR_MATRIX_SMPTE240M:
    default:  // RGB and grey, where nobody looks at it; of YUV GStreamer leaves it in no doubt
      return TOME_MATRIX_BT709;
  }
}

TomeColorRange color_range(const GstVideoInfo& info) {
  // Grey is full unless the caps say otherwise, as GStreamer has it.
  if (GST_VIDEO_INFO_IS_GRAY(&info)) {
    return info.colorimetry.range == GST_VIDEO_COLOR_RANGE_16_235 ? TOME_RANGE_LIMITED
                                                                  : TOME_RANGE_FULL;
  }
  return info.colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255 ? TOME_RANGE_FULL
                                                               : TOME_RANGE_LIMITED;
}

}  // namespace

void notice_hdr(GstElement* element, const GstVideoInfo& info) {
  const GstVideoTransferFunction transfer = info.colorimetry.transfer;
  if (transfer != GST_VIDEO_TRANSFER_SMPTE2084 && transfer != GST_VIDEO_TRANSFER_ARIB_STD_B67) {
    return;
  }
  GST_WARNING_OBJECT(element,
                     "frames of high dynamic range (%s): no tone mapping before inference, which "
                     "expects pictures of standard dynamic range",
                     transfer == GST_VIDEO_TRANSFER_SMPTE2084 ? "PQ" : "HLG");
}

std::optional<TomeFrame> map_frame(GstBuffer* buffer, const GstVideoInfo& info,
                                   std::vector<TomeRegion> regions, std::string& error,
                                   GstMapFlags flags) {
  const auto format = pixel_format(GST_VIDEO_INFO_FORMAT(&info));
  if (!format) {
    error = std::string("format ") + GST_VIDEO_INFO_NAME(&info) + ": expected one of " +
            TOME_GST_VIDEO_FORMATS;
    return std::nullopt;
  }
  const auto picture = picture_of(buffer, info, error);
  if (!picture) return std::nullopt;
  auto mapping = std::make_unique<Mapping>();
  GstVideoInfo own_info = info;
  if (!gst_video_frame_map(&mapping->frame, &own_info, buffer, flags)) {
    error = "a buffer of " + std::to_string(gst_buffer_get_size(buffer)) +
            " bytes cannot be read as " + GST_VIDEO_INFO_NAME(&info) + " " +
            size_text(info.width, info.height) + ": expected at least " +
            std::to_string(GST_VIDEO_INFO_SIZE(&info)) + " bytes";
    return std::nullopt;
  }
  mapping->regions = std::move(regions);
  // A GstVideoMeta may describe a larger, padded picture; none of our formats refuses.
  narrow_to(mapping->frame, *picture);
  TomeFrame frame{};
  frame.format = *format;
  frame.width = picture->width;
  frame.height = picture->height;
  frame.pixel_aspect_n = GST_VIDEO_INFO_PAR_N(&info);
  frame.pixel_aspect_d = GST_VIDEO_INFO_PAR_D(&info);
  for (unsigned i = 0; i < GST_VIDEO_FRAME_N_PLANES(&mapping->frame) && i < 3; ++i) {
    frame.plane[i] = static_cast<const uint8_t*>(mapping->frame.data[i]);
    frame.stride[i] = GST_VIDEO_FRAME_PLANE_STRIDE(&mapping->frame, i);
    frame.plane_size[i] = static_cast<uint64_t>(plane_memory(mapping->frame, i).from);
  }
  frame.matrix = color_matrix(info);
  frame.range = color_range(info);
  frame.memory = TOME_MEMORY_HOST;
  frame.pts = GST_BUFFER_PTS_IS_VALID(buffer) ? static_cast<int64_t>(GST_BUFFER_PTS(buffer)) : -1;
  frame.duration =
      GST_BUFFER_DURATION_IS_VALID(buffer) ? static_cast<int64_t>(GST_BUFFER_DURATION(buffer)) : -1;
  frame.regions = mapping->regions.empty() ? nullptr : mapping->regions.data();
  frame.n_regions = static_cast<uint32_t>(mapping->regions.size());
  frame.release = release_mapping;
  frame.release_data = mapping.release();
  return frame;
}

}  // namespace tome::gst
