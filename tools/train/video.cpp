#include "train/video.h"

#include <algorithm>

#include "frame_pixels.h"
#include "media_reader.h"

namespace tome::train {
namespace {

// Note [Which frames of a long video]
// Of a video of up to kWholeFrames frames all are kept. How long a longer one is shows only at its
// end, so frames are thinned on the way:
//   spread over the whole video (stride 0): whenever there are too many, every second one goes and
//     from then on half as many come. Between half and all of the bound are left, evenly spread.
//   at a stride: clips begin at multiples of it, and nothing in between is kept. That has a bound
//     too, and there the video is cut: what comes after it is not trained on.
constexpr size_t kWholeFrames = 256;
constexpr size_t kMostAtStride = 1024;

/// Leaves every `step`-th frame of what is there.
void thin(std::vector<cv::Mat>& frames, int64_t step) {
  size_t kept = 0;
  for (size_t i = 0; i < frames.size(); i += static_cast<size_t>(step)) {
    std::swap(frames[kept++], frames[i]);
  }
  frames.resize(kept);
}

/// See Note [Which frames of a long video].
class FrameKeeper {
 public:
  explicit FrameKeeper(const VideoOptions& options)
      : options_(options), clip_(static_cast<size_t>(options.clip_frames)) {}

  /// False if no more frames are wanted.
  bool add(const Frame& frame, int64_t index) {
    if (index % video_.step == 0 && full()) {
      if (!make_room()) {
        video_.cut = true;
        return false;
      }
    }
    if (size_.empty()) size_ = cli::reduced_size(frame, options_.short_side);
    if (index % video_.step == 0) video_.frames.push_back(cli::rgb_pixels(frame, size_));
    return true;
  }

  Video take() { return std::move(video_); }

 private:
  bool full() const {
    const size_t frames = video_.frames.size();
    if (options_.stride == 0) return frames >= std::max(kWholeFrames, 2 * clip_);
    if (video_.step < options_.stride) return frames >= kWholeFrames;
    return frames >= std::max(kMostAtStride, clip_);
  }

  bool make_room() {
    const int64_t step = options_.stride == 0 ? 2 * video_.step : options_.stride;
    if (step == video_.step) return false;
    thin(video_.frames, step / video_.step);
    video_.step = step;
    return true;
  }

  VideoOptions options_;
  size_t clip_;
  cv::Size size_;  // of the first frame: a stream may change to another on the way
  Video video_;
};

}  // namespace

size_t Video::bytes() const {
  size_t sum = 0;
  for (const cv::Mat& frame : frames) sum += frame.total() * frame.elemSize();
  return sum;
}

Video read_video(const std::filesystem::path& file, const VideoOptions& options) {
  FrameKeeper keeper(options);
  if (cli::is_picture(file)) {
    keeper.add(cli::read_picture(file), 0);
  } else {
    cli::for_each_frame(
        file, [&](const Frame& frame, int64_t index, double) { return keeper.add(frame, index); });
  }
  return keeper.take();
}

}  // namespace tome::train
