// Films whose every sample, time and tag is known.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/pixdesc.h>
}

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

namespace tome::train {

struct FilmSpec {
  std::filesystem::path file;  ///< its ending says which container
  AVCodecID codec = AV_CODEC_ID_FFV1;
  AVPixelFormat format = AV_PIX_FMT_YUV420P;
  int width = 64, height = 48;
  AVColorSpace matrix = AVCOL_SPC_UNSPECIFIED;
  AVColorRange range = AVCOL_RANGE_UNSPECIFIED;
  int held_back = 0;  ///< B-frames between two others
  AVRational time_base = {1, 1000};
  AVRational pixel_aspect = {0, 1};  ///< 0: the file says none
};

/// One frame for each of the times (in units of the time base), painted by `paint(frame, index)`.
/// @throws std::runtime_error where FFmpeg cannot write it
void write_film(const FilmSpec& spec, const std::vector<int64_t>& times,
                const std::function<void(AVFrame&, int)>& paint);

/// Sets a rectangle of a plane of 8 or 16 bits.
void fill(AVFrame& frame, int plane, int x, int y, int width, int height, int value);

/// Sets all of a plane.
void fill(AVFrame& frame, int plane, int value);

}  // namespace tome::train
