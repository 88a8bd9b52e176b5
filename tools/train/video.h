// The frames of a training sample, reduced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <opencv2/core.hpp>
#include <vector>

namespace tome::train {

/// What of a video is kept in memory.
struct VideoOptions {
  int short_side = 256;     ///< pixels; larger pictures are reduced to it
  int64_t stride = 0;       ///< frames between two of a clip; 0: spread over the whole video
  int64_t clip_frames = 1;  ///< of one clip
};

/// RGB, 8 bits, all as large as the first. Frame i is number i * step of the file.
struct Video {
  std::vector<cv::Mat> frames;
  int64_t step = 1;
  bool cut = false;  ///< the file goes on, see Note [Which frames of a long video]

  size_t bytes() const;
};

/// Decodes a picture, as one frame, or a video, whose pixels come out square.
/// @throws Error kNotFound, kRead if there is not a single frame
Video read_video(const std::filesystem::path& file, const VideoOptions& options);

}  // namespace tome::train
