// The frames of a video file, one after the other, decoded by FFmpeg's libraries.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "media/frame.h"
#include "video_input.h"

struct AVStream;

namespace tome::cli {

/// How a file says that its frames are to be shown: transposed first, then mirrored.
struct Orientation {
  bool transposed = false, mirrored_x = false, mirrored_y = false;
};

/// Damaged frames are left out, and of what a decoder holds back until the end nothing is lost.
class VideoDecoder {
 public:
  /// @throws Error kRead if there is no video in it that can be decoded. Text and the covers of
  ///   music are none.
  explicit VideoDecoder(const std::filesystem::path& file);

  /// Decodes the next frame; false after the last one.
  bool next();

  /// Of the frame that next() decoded, in seconds since the video's beginning, see Note [Where a
  /// video begins]. Where the file has no time for a frame, or one that goes back, it is that of
  /// the frame before and one of the rate.
  double time() const { return time_.value_or(0); }

  /// The frame that next() decoded, upright, as wide as the file says; but the decoder may leave of
  /// a crop on the left what its alignment does not allow, as the element's does. It owns its
  /// pixels: I420, NV12, P010 and GRAY8 as they were decoded, BGR where they were anything else.
  /// @throws Error kRead if they are of a format that cannot be converted
  Frame frame();

 private:
  void feed();
  void take_time();

  std::filesystem::path file_;
  AvPointer<AVFormatContext> format_;
  AvPointer<AVCodecContext> codec_;
  AvPointer<AVPacket> packet_;
  AvPointer<AVFrame> frame_;
  AvPointer<SwsContext> converter_;
  AVStream* stream_ = nullptr;
  Orientation orientation_;
  double origin_ = 0;  // ticks of the stream's time base
  std::optional<double> time_;
};

/// Whether the file is a video of one frame and no more; false for what is none. Decodes nothing.
bool has_one_frame(const std::filesystem::path& file);

}  // namespace tome::cli
