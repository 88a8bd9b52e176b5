#include "media_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <mutex>
#include <opencv2/core/utility.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <optional>
#include <string>

#include "tome_error.h"

namespace tome::cli {
namespace {

void require_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    throw Error(ErrorKind::kNotFound, file.string() + ": no such file");
  }
  if (std::filesystem::is_directory(file, error)) {
    throw Error(ErrorKind::kRead,
                file.string() + ": found a folder, expected a picture or a video");
  }
}

// Note [Decoders that talk]
// libpng and libjpeg write what they think of damaged data to stderr, where `tome` promises one
// line of its own, and OpenCV leaves no way to stop them. While any thread decodes, stderr is
// closed to them.
class QuietDecoders {
 public:
  QuietDecoders() {
    const std::lock_guard lock(mutex_);
    if (depth_++ > 0) return;
    saved_ = dup(STDERR_FILENO);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (saved_ >= 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO);
    if (nowhere >= 0) close(nowhere);
  }
  ~QuietDecoders() {
    const std::lock_guard lock(mutex_);
    if (--depth_ > 0 || saved_ < 0) return;
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    saved_ = -1;
  }
  QuietDecoders(const QuietDecoders&) = delete;
  QuietDecoders& operator=(const QuietDecoders&) = delete;

 private:
  static inline std::mutex mutex_;
  static inline int depth_ = 0;
  static inline int saved_ = -1;
};

// Note [The rotation of videos]
// Phones record lying frames, and the angle to turn them by. FFmpeg counts it counter-clockwise,
// and OpenCV 4.6.0 alone forgets that and turns the wrong way
// (github.com/opencv/opencv/issues/22088): so its turning is off, and done here.
std::optional<cv::RotateFlags> take_over_rotation(cv::VideoCapture& capture) {
  const bool reversed = cv::getVersionMajor() == 4 && cv::getVersionMinor() == 6;
  // One that cannot switch it off turns frames itself, or never does.
  if (!capture.set(cv::CAP_PROP_ORIENTATION_AUTO, 0)) return std::nullopt;
  const int angle = static_cast<int>(capture.get(cv::CAP_PROP_ORIENTATION_META));
  switch (((reversed ? -angle : angle) % 360 + 360) % 360) {
    case 90:
      return cv::ROTATE_90_CLOCKWISE;
    case 180:
      return cv::ROTATE_180;
    case 270:
      return cv::ROTATE_90_COUNTERCLOCKWISE;
    default:
      return std::nullopt;
  }
}

/// How wide pixels are after `rotation`; 0/0 if the file does not say.
PixelAspect pixel_aspect(const cv::VideoCapture& capture,
                         const std::optional<cv::RotateFlags>& rotation) {
  const auto n = static_cast<int32_t>(capture.get(cv::CAP_PROP_SAR_NUM));
  const auto d = static_cast<int32_t>(capture.get(cv::CAP_PROP_SAR_DEN));
  const bool on_its_side = rotation && *rotation != cv::ROTATE_180;
  return on_its_side ? PixelAspect{d, n} : PixelAspect{n, d};
}

/// A Frame of BGR pixels that keeps `pixels` alive.
Frame to_frame(cv::Mat pixels) {
  auto kept = std::make_shared<cv::Mat>(std::move(pixels));
  Frame frame;
  frame.format = PixelFormat::kBgr;
  frame.width = kept->cols;
  frame.height = kept->rows;
  frame.planes[0] = {kept->data, static_cast<int64_t>(kept->step[0]),
                     kept->step[0] * static_cast<size_t>(kept->rows)};
  frame.keep_alive = kept;
  return frame;
}

cv::VideoCapture open_video(const std::filesystem::path& file) {
  require_file(file);
  cv::VideoCapture capture;
  // One decoder only: OpenCV would otherwise try every back end it has, each with its own warnings.
  // With its folder: FFmpeg takes what stands before a colon in a bare name for a protocol.
  if (!capture.open(std::filesystem::absolute(file).string(), cv::CAP_FFMPEG)) {
    throw Error(ErrorKind::kRead,
                file.string() + ": found neither a picture nor a video that can be decoded");
  }
  return capture;
}

std::string suffix_of(const std::filesystem::path& file) {
  std::string suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix;
}

/// What to say of a file that FFmpeg opened, and in which it found nothing.
[[noreturn]] void fail_without_frame(const std::filesystem::path& file) {
  const std::string suffix = suffix_of(file);
  constexpr std::array kPictures = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"};
  const bool picture = std::find(kPictures.begin(), kPictures.end(), suffix) != kPictures.end();
  throw Error(ErrorKind::kRead,
              file.string() + (picture ? ": found damaged or unknown data, expected a picture"
                                       : ": found no frame in this video"));
}

}  // namespace

bool is_picture(const std::filesystem::path& file) {
  require_file(file);
  // Pictures one after the other begin as one does.
  const std::string suffix = suffix_of(file);
  if (suffix == ".mjpg" || suffix == ".mjpeg") return false;
  return cv::haveImageReader(file.string());
}

Frame read_picture(const std::filesystem::path& file) {
  require_file(file);
  cv::Mat pixels;
  try {
    const QuietDecoders quiet;
    pixels = cv::imread(file.string(), cv::IMREAD_COLOR);
  } catch (const cv::Exception& error) {  // sizes beyond OpenCV's own limits
    throw Error(ErrorKind::kRead, file.string() + ": picture cannot be decoded: " + error.err);
  }
  if (pixels.empty()) {
    throw Error(ErrorKind::kRead,
                file.string() + ": found damaged or unknown data, expected a picture");
  }
  return to_frame(std::move(pixels));
}

int64_t for_each_frame(const std::filesystem::path& file,
                       const std::function<bool(const Frame&, int64_t, double)>& visit) {
  cv::VideoCapture capture = open_video(file);
  const auto rotation = take_over_rotation(capture);
  const PixelAspect aspect = pixel_aspect(capture, rotation);
  const double rate = capture.get(cv::CAP_PROP_FPS);
  double before = -1;
  int64_t index = 0;
  for (;; ++index) {
    cv::Mat pixels;
    if (!capture.read(pixels) || pixels.empty()) break;
    double pts = capture.get(cv::CAP_PROP_POS_MSEC) / 1000.0;
    // The frames that a decoder holds back until the end come without a time.
    if (pts <= before) pts = before + (rate > 0 ? 1 / rate : 0);
    before = pts;
    cv::Mat upright;
    if (rotation) {
      cv::rotate(pixels, upright, *rotation);
    } else {
      upright = pixels.clone();
    }
    Frame frame = to_frame(std::move(upright));
    frame.pixel_aspect = aspect;
    if (!visit(frame, index, pts)) return index + 1;
  }
  if (index == 0) fail_without_frame(file);
  return index;
}

int64_t count_frames(const std::filesystem::path& file) {
  cv::VideoCapture capture = open_video(file);
  int64_t count = 0;
  while (capture.grab()) ++count;
  if (count == 0) fail_without_frame(file);
  return count;
}

std::vector<std::vector<int64_t>> window_indices(int64_t total, int64_t windows, int64_t length,
                                                 int64_t stride) {
  std::vector<std::vector<int64_t>> indices;
  for (int64_t w = 0; w < windows; ++w) {
    std::vector<int64_t> window;
    if (stride > 0) {
      const int64_t span = (length - 1) * stride + 1;
      const int64_t slack = std::max<int64_t>(0, total - span);
      const int64_t start = (2 * w + 1) * slack / (2 * windows);
      for (int64_t i = 0; i < length; ++i)
        window.push_back(std::min(start + i * stride, total - 1));
    } else {
      // Middle of each of `length` equal parts of this window's share.
      for (int64_t i = 0; i < length; ++i) {
        window.push_back((2 * (w * length + i) + 1) * total / (2 * windows * length));
      }
    }
    indices.push_back(std::move(window));
  }
  return indices;
}

}  // namespace tome::cli
