#include "media_reader.h"

#include <algorithm>
#include <array>
#include <climits>
#include <fstream>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <utility>

#include "folder_entries.h"
#include "quiet_decoders.h"
#include "tome_error.h"
#include "video_decoder.h"

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

/// A Frame of BGR pixels that keeps them alive.
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

/// Fewer where the file is shorter, none where it cannot be read.
std::string first_bytes(const std::filesystem::path& file, std::streamsize count) {
  std::ifstream stream(file, std::ios::binary);
  std::string bytes(static_cast<size_t>(count), '\0');
  stream.read(bytes.data(), count);
  bytes.resize(static_cast<size_t>(stream.gcount()));
  return bytes;
}

/// @throws Error kRead for more than OpenCV counts
std::string all_bytes(const std::filesystem::path& file) {
  std::error_code unknown;
  const uintmax_t size = std::filesystem::file_size(file, unknown);
  if (unknown || size > INT_MAX) {
    throw Error(ErrorKind::kRead, file.string() + ": found " +
                                      (unknown ? "no size" : std::to_string(size) + " bytes") +
                                      ", expected a picture of at most " + std::to_string(INT_MAX) +
                                      " bytes");
  }
  return first_bytes(file, static_cast<std::streamsize>(size));
}

/// Whether an end of image follows the first scan. A thumbnail before that has an end of its own.
bool ends_as_jpeg(const std::string& jpeg) {
  constexpr unsigned char kMarker = 0xff, kScan = 0xda;
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(jpeg[at]); };
  size_t at = 2;
  while (at + 3 < jpeg.size() && byte(at) == kMarker && byte(at + 1) != kScan) {
    const bool padding = byte(at + 1) == kMarker;
    at += padding ? 1 : 2 + (byte(at + 2) << 8U) + byte(at + 3);
  }
  return jpeg.find("\xff\xd9", at) != std::string::npos;
}

bool is_animated_webp(const std::string& bytes) {
  constexpr size_t kFlags = 20;
  constexpr unsigned char kAnimated = 2;
  return bytes.size() > kFlags && bytes.compare(8, 8, "WEBPVP8X") == 0 &&
         (static_cast<unsigned char>(bytes[kFlags]) & kAnimated) != 0;
}

/// What to say of a file that FFmpeg opened, and in which it found nothing.
[[noreturn]] void fail_without_frame(const std::filesystem::path& file) {
  const std::string suffix = lower_ending(file);
  constexpr std::array kPictures = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"};
  const bool picture = std::find(kPictures.begin(), kPictures.end(), suffix) != kPictures.end();
  throw Error(ErrorKind::kRead,
              file.string() + (picture ? ": found damaged or unknown data, expected a picture"
                                       : ": found no frame in this video"));
}

/// Whether OpenCV is to read it.
bool is_still(const std::filesystem::path& file) {
  // Pictures one after the other begin as one does.
  const std::string suffix = lower_ending(file);
  if (suffix == ".mjpg" || suffix == ".mjpeg") return false;
  // Some versions read the first picture of these, whatever follows.
  const std::string head = first_bytes(file, 12);
  if (head.starts_with("GIF8") || head.ends_with("ftypavis")) return false;
  return cv::haveImageReader(file.string());
}

/// Upright, as the picture's orientation tag says.
Frame decode(std::string bytes, const std::filesystem::path& file) {
  // A JPEG that ends early is no error to libjpeg: what is missing becomes grey.
  if (bytes.starts_with("\xff\xd8") && !ends_as_jpeg(bytes)) {
    throw Error(ErrorKind::kRead,
                file.string() + ": found a truncated JPEG, expected a whole picture");
  }
  cv::Mat pixels;
  try {
    const QuietDecoders quiet;
    const cv::Mat encoded(1, static_cast<int>(bytes.size()), CV_8UC1, bytes.data());
    pixels = cv::imdecode(encoded, cv::IMREAD_COLOR);
  } catch (const cv::Exception& error) {  // sizes beyond OpenCV's own limits
    throw Error(ErrorKind::kRead, file.string() + ": picture cannot be decoded: " + error.err);
  }
  if (pixels.empty()) {
    throw Error(ErrorKind::kRead,
                file.string() +
                    (is_animated_webp(bytes) ? ": found an animated WebP"
                                             : ": found damaged or unknown data") +
                    ", expected a picture");
  }
  return to_frame(std::move(pixels));
}

Frame read_only_frame(const std::filesystem::path& file) {
  VideoDecoder video(file);
  if (!video.next()) fail_without_frame(file);
  return video.frame();
}

}  // namespace

bool is_picture(const std::filesystem::path& file) {
  require_file(file);
  return is_still(file) || has_one_frame(file);
}

Frame read_picture(const std::filesystem::path& file) {
  require_file(file);
  return is_still(file) ? decode(all_bytes(file), file) : read_only_frame(file);
}

int64_t for_each_frame(const std::filesystem::path& file,
                       const std::function<bool(const Frame&, int64_t, double)>& visit) {
  require_file(file);
  VideoDecoder video(file);
  int64_t index = 0;
  for (; video.next(); ++index) {
    if (!visit(video.frame(), index, video.time())) return index + 1;
  }
  if (index == 0) fail_without_frame(file);
  return index;
}

int64_t count_frames(const std::filesystem::path& file) {
  require_file(file);
  VideoDecoder video(file);
  int64_t count = 0;
  while (video.next()) ++count;
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
