#include "train/foreground.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace tome::train {
namespace {

/// A random part of `source`, scaled to the size.
cv::Mat cut_patch(const cv::Mat& source, cv::Size size, Random& random) {
  const double share = random.uniform(0.15, 0.8);
  const int w = std::max(8, static_cast<int>(source.cols * share));
  const int h = std::max(8, static_cast<int>(source.rows * share));
  const cv::Rect area(static_cast<int>(random.index(source.cols - w + 1)),
                      static_cast<int>(random.index(source.rows - h + 1)), w, h);
  cv::Mat patch;
  cv::resize(source(area), patch, size, 0, 0, cv::INTER_AREA);
  return patch;
}

struct Object {
  cv::Mat patch, mask;
  double x = 0, y = 0, dx = 0, dy = 0;  // pixels of the view, centre
};

Object draw_object(const cv::Mat& view, const cv::Mat& texture, int frames, Random& random) {
  const bool large = random.chance(0.15);
  const double share = large ? random.uniform(0.3, 0.5) : random.log_uniform(0.06, 0.32);
  const cv::Size size(
      std::max(4, static_cast<int>(view.cols * share)),
      std::max(4, static_cast<int>(view.rows * share * random.uniform(0.6, large ? 1.3 : 2.0))));
  Object object;
  object.patch = cut_patch(texture, size, random);
  if (random.chance(0.5)) object.patch.convertTo(object.patch, -1, random.uniform(0.4, 1.2));
  object.mask = cv::Mat::zeros(size, CV_8U);
  if (random.chance(0.7)) {
    cv::ellipse(object.mask, {size.width / 2, size.height / 2},
                {size.width / 2 - 1, size.height / 2 - 1}, 0, 0, 360, 255, cv::FILLED);
  } else {
    object.mask.setTo(255);
  }
  // The place in the middle of the clip is in view, whatever the speed.
  const double speed = random.chance(0.2) ? 0 : random.log_uniform(0.004, 0.06) * view.cols;
  const double direction = random.chance(0.6)
                               ? (random.chance(0.5) ? 0.0 : M_PI) + 0.2 * random.normal()
                               : random.uniform(0, 2 * M_PI);
  object.dx = speed * std::cos(direction);
  object.dy = speed * std::sin(direction);
  object.x = view.cols * random.uniform(0.05, 0.95) - object.dx * frames / 2.0;
  object.y = view.rows * random.uniform(0.2, 0.95) - object.dy * frames / 2.0;
  return object;
}

/// Copies with sub-pixel placement: motion of part of a pixel must not become steps of a whole one.
void paste(cv::Mat& frame, const Object& object, int index) {
  const double x = object.x + object.dx * index - object.patch.cols / 2.0;
  const double y = object.y + object.dy * index - object.patch.rows / 2.0;
  const int left = static_cast<int>(std::floor(x));
  const int top = static_cast<int>(std::floor(y));
  const cv::Rect whole(left, top, object.patch.cols + 1, object.patch.rows + 1);
  const cv::Rect seen = whole & cv::Rect(0, 0, frame.cols, frame.rows);
  if (seen.empty()) return;
  const cv::Matx23d shift(1, 0, x - left, 0, 1, y - top);
  cv::Mat patch;
  cv::Mat mask;
  cv::warpAffine(object.patch, patch, shift, whole.size(), cv::INTER_LINEAR, cv::BORDER_REPLICATE);
  cv::warpAffine(object.mask, mask, shift, whole.size(), cv::INTER_LINEAR);
  const cv::Rect part(seen.x - left, seen.y - top, seen.width, seen.height);
  for (int row = 0; row < seen.height; ++row) {
    uint8_t* to = frame.ptr<uint8_t>(seen.y + row) + 3 * seen.x;
    const uint8_t* from = patch.ptr<uint8_t>(part.y + row) + 3 * part.x;
    const uint8_t* weight = mask.ptr<uint8_t>(part.y + row) + part.x;
    for (int i = 0; i < 3 * seen.width; ++i) {
      const int w = weight[i / 3];
      to[i] = static_cast<uint8_t>((to[i] * (255 - w) + from[i] * w + 127) / 255);
    }
  }
}

/// What lies on the lens, as large as the view or a little larger.
cv::Mat cover_picture(cv::Size size, const cv::Mat& texture, Random& random) {
  const double grey = random.chance(0.5) ? random.uniform(0, 50) : random.uniform(20, 235);
  const cv::Scalar base(grey * random.uniform(0.85, 1.15), grey * random.uniform(0.85, 1.1),
                        grey * random.uniform(0.8, 1.1));
  cv::Mat picture(size, CV_8UC3, base);
  const int kind = static_cast<int>(random.index(4));
  if (kind == 0) return picture;
  if (kind == 3) {  // cloth, cardboard: fine grain of low contrast
    cv::Mat grain(size.height / 2, size.width / 2, CV_8U);
    cv::RNG(random.next()).fill(grain, cv::RNG::NORMAL, 128, random.uniform(2, 14));
    cv::resize(grain, grain, size, 0, 0, cv::INTER_LINEAR);
    cv::cvtColor(grain, grain, cv::COLOR_GRAY2RGB);
    cv::addWeighted(picture, 1, grain, 1, -128, picture);
    return picture;
  }
  // A hand, paint, a bag: a few soft blobs (1) or one gradient (2) around the base colour.
  cv::Mat blobs = cut_patch(texture, kind == 1 ? cv::Size(4, 4) : cv::Size(2, 2), random);
  cv::resize(blobs, blobs, size, 0, 0, cv::INTER_CUBIC);
  const cv::Scalar mean = cv::mean(blobs);
  const double contrast = random.uniform(0.05, kind == 1 ? 0.25 : 0.6);
  blobs.convertTo(blobs, CV_8U, contrast);
  picture += blobs - mean * contrast;
  return picture;
}

}  // namespace

void draw_objects(std::vector<cv::Mat>& frames, const cv::Mat& texture, Random& random) {
  const double draw = random.unit();
  const int count = draw < 0.45 ? 0 : draw < 0.75 ? 1 : draw < 0.9 ? 2 : 3;
  for (int i = 0; i < count; ++i) {
    const Object object = draw_object(frames[0], texture, static_cast<int>(frames.size()), random);
    for (size_t k = 0; k < frames.size(); ++k) paste(frames[k], object, static_cast<int>(k));
  }
}

void draw_cover(std::vector<cv::Mat>& frames, const cv::Mat& texture, Random& random) {
  const cv::Size size = frames[0].size();
  const bool whole = random.chance(0.65);
  const cv::Mat picture = cover_picture(size, texture, random);
  cv::Mat mask(size, CV_8U, cv::Scalar(255));
  if (!whole) {  // a strip of the scene stays visible at one side or corner
    const double seen = random.uniform(0.02, 0.18);
    mask.setTo(0);
    const cv::Point2d centre(size.width * (0.5 + seen * random.sign() * random.unit()),
                             size.height * (0.5 + seen * random.sign() * random.unit()));
    if (random.chance(0.5)) {
      cv::ellipse(mask, centre,
                  cv::Size(static_cast<int>(size.width * random.uniform(0.52, 0.75)),
                           static_cast<int>(size.height * random.uniform(0.52, 0.75))),
                  0, 0, 360, 255, cv::FILLED);
    } else {
      const cv::Point shift(static_cast<int>(size.width * seen * random.sign()),
                            random.chance(0.3) ? static_cast<int>(size.height * seen) : 0);
      cv::rectangle(mask, cv::Rect(shift, size), 255, cv::FILLED);
    }
    const int soft = static_cast<int>(random.index(size.width / 8)) * 2 + 1;
    cv::blur(mask, mask, {soft, soft});
  }
  cv::Mat weight;
  cv::cvtColor(mask, weight, cv::COLOR_GRAY2RGB);
  weight.convertTo(weight, CV_32F, 1 / 255.0);
  cv::Mat cover;
  picture.convertTo(cover, CV_32F);
  for (cv::Mat& frame : frames) {
    if (whole) {
      picture.copyTo(frame);
      continue;
    }
    cv::Mat scene;
    frame.convertTo(scene, CV_32F);
    scene += (cover - scene).mul(weight);
    scene.convertTo(frame, CV_8U);
  }
}

}  // namespace tome::train
