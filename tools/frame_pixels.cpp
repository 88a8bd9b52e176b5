#include "frame_pixels.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>
#include <string>
#include <vector>

#include "media/colour.h"
#include "media/geometry.h"
#include "media/pixel_layout.h"
#include "media/row_kernels.h"
#include "tome_error.h"

namespace tome::cli {
namespace {

/// May be the picture itself.
cv::Mat resized(const cv::Mat& picture, cv::Size size) {
  // By area first: OpenCV knows that only where neither side grows.
  const cv::Size reduced(std::min(size.width, picture.cols), std::min(size.height, picture.rows));
  cv::Mat result = picture;
  if (reduced != picture.size()) cv::resize(picture, result, reduced, 0, 0, cv::INTER_AREA);
  if (reduced == size) return result;
  cv::Mat grown;
  cv::resize(result, grown, size, 0, 0, cv::INTER_LINEAR);
  return grown;
}

/// One plane, which holds samples of the OpenCV type `type`, at another size and in 8 bits.
cv::Mat plane(const Frame& frame, int index, int type, cv::Size size) {
  const PlaneSize stored =
      plane_samples(layout_of(frame.format).kind, index, frame.width, frame.height);
  const cv::Mat samples(static_cast<int>(stored.rows), static_cast<int>(stored.columns), type,
                        const_cast<uint8_t*>(frame.planes[index].data),
                        static_cast<size_t>(frame.planes[index].stride));
  cv::Mat result = resized(samples, size);
  if (result.depth() == CV_16U) result.convertTo(result, CV_8U, 1.0 / 256);
  return result;
}

/// Resizing and the matrix are linear: so the matrix is for the pixels that are left.
cv::Mat yuv_to_rgb(const std::vector<cv::Mat>& planes, const Frame& frame) {
  cv::Mat yuv;
  cv::merge(planes, yuv);
  constexpr int kBits = 8;
  constexpr double kUnit = 1 << kWideFractionBits;
  const ColourMatrix by = colour_matrix(frame.matrix, frame.range, kBits);
  const double black = by.black / kUnit, centre = by.centre / kUnit;
  cv::Matx34d matrix(by.luma, 0, by.red_v, 0, by.luma, by.green_u, by.green_v, 0, by.luma,
                     by.blue_u, 0, 0);
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) matrix(row, column) *= kUnit;
    matrix(row, 3) = -matrix(row, 0) * black - (matrix(row, 1) + matrix(row, 2)) * centre;
  }
  cv::Mat rgb;
  cv::transform(yuv, rgb, matrix);
  return rgb;
}

}  // namespace

cv::Size reduced_size(const Frame& frame, int short_side) {
  // What no camera has would make frames of gigabytes, which training keeps.
  constexpr int64_t kMostAspect = 4;
  PixelAspect aspect = usable_aspect(frame.pixel_aspect);
  const bool plausible = aspect.n <= kMostAspect * aspect.d && aspect.d <= kMostAspect * aspect.n;
  if (!plausible) aspect = {1, 1};
  const double width = static_cast<double>(frame.width) * aspect.n / aspect.d;
  const double scale = std::min(1.0, short_side / std::min<double>(width, frame.height));
  return {std::max(1, cvRound(width * scale)), std::max(1, cvRound(frame.height * scale))};
}

cv::Mat rgb_pixels(const Frame& frame, cv::Size size) {
  cv::Mat rgb;
  switch (frame.format) {
    case PixelFormat::kBgr:
      cv::cvtColor(plane(frame, 0, CV_8UC3, size), rgb, cv::COLOR_BGR2RGB);
      return rgb;
    case PixelFormat::kGray8: {
      const cv::Mat grey = plane(frame, 0, CV_8UC1, size);
      cv::cvtColor(grey, rgb, cv::COLOR_GRAY2RGB);
      if (is_limited_grey(frame)) rgb.convertTo(rgb, CV_8U, 255.0 / 219, -16 * 255.0 / 219);
      return rgb;
    }
    case PixelFormat::kI420:
      return yuv_to_rgb({plane(frame, 0, CV_8UC1, size), plane(frame, 1, CV_8UC1, size),
                         plane(frame, 2, CV_8UC1, size)},
                        frame);
    case PixelFormat::kNv12:
      return yuv_to_rgb({plane(frame, 0, CV_8UC1, size), plane(frame, 1, CV_8UC2, size)}, frame);
    case PixelFormat::kP010:
      return yuv_to_rgb({plane(frame, 0, CV_16UC1, size), plane(frame, 1, CV_16UC2, size)}, frame);
    default:
      throw Error(ErrorKind::kFormat, std::string("found a frame in ") +
                                          layout_of(frame.format).name +
                                          ", expected BGR, GRAY8, I420, NV12 or P010");
  }
}

}  // namespace tome::cli
