#include "train/stillness.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "train/sensor.h"

namespace tome::train {
namespace {

// Note [Still or frozen]
// At 64 x 64, a real still scene with a sensor's noise, encoded by H.264 at usual quality and
// decoded, differs from frame to frame in 6 to 30 % of its values, mostly by one grey level (0.07
// to 0.5 on average). Right after a cut an encoder spends its bits on the picture and lets through
// less of the noise: 0.03 to 0.06. A scene that repeats one frame exactly, encoded in the same way,
// changes by 0 to 0.02. So a generated living camera changes by at least kAlive, and a generated
// frozen one flickers by at most kFrozen. What is left of the noise is no longer white: neighbours
// change together (correlation 0.3 to 0.6), in blocks of a few pixels, and a block that is not
// coded anew stays.
constexpr double kAlive = 0.03;
constexpr double kFrozen = 0.02;

}  // namespace

double mean_change(const std::vector<cv::Mat>& frames) {
  double sum = 0;
  for (size_t i = 1; i < frames.size(); ++i) {
    sum += cv::norm(frames[i], frames[i - 1], cv::NORM_L1);
  }
  return sum / (3.0 * static_cast<double>(frames[0].total() * (frames.size() - 1)));
}

void add_traces(std::vector<cv::Mat>& frames, double deviation, double update, Random& random) {
  cv::RNG noise(random.next());
  const double k = random.uniform(0, 0.5);  // neighbours correlate by 2 k / (1 + 2 k^2)
  const cv::Matx13d grain = cv::Matx13d(k, 1, k) * (1 / std::sqrt(1 + 2 * k * k));
  const int cell = 2 + static_cast<int>(random.index(4));
  const int type = random.chance(0.7) ? CV_32F : CV_32FC3;
  const cv::Size size = frames[0].size();
  cv::Mat cells((size.height + cell - 1) / cell, (size.width + cell - 1) / cell, CV_32F);
  cv::Mat coded;
  cv::Mat left = cv::Mat::zeros(size, type);  // what is left of the noise, as last coded
  for (size_t i = 0; i < frames.size(); ++i) {
    cv::Mat fresh(size, type);
    // Every few frames an encoder gives more bits.
    noise.fill(fresh, cv::RNG::NORMAL, 0, deviation * random.log_uniform(0.6, 1.6));
    cv::sepFilter2D(fresh, fresh, -1, grain, grain);
    noise.fill(cells, cv::RNG::UNIFORM, 0, 1);
    const double share = i == 0 ? 1 : update * random.uniform(0.4, 1.6);
    cv::resize(cells < share, coded, size, 0, 0, cv::INTER_NEAREST);
    fresh.copyTo(left, coded);
    cv::Mat sum;
    if (type == CV_32F) {
      cv::cvtColor(left, sum, cv::COLOR_GRAY2RGB);
    } else {
      sum = left.clone();
    }
    cv::add(sum, frames[i], sum, cv::noArray(), CV_32F);
    sum.convertTo(frames[i], CV_8U);
  }
}

void keep_alive(std::vector<cv::Mat>& frames, Random& random) {
  for (double least = 0.19; mean_change(frames) < kAlive && least < 3; least *= 1.3) {
    add_traces(frames, random.log_uniform(least, least * 1.5), random.uniform(0.3, 1), random);
  }
}

void freeze(std::vector<cv::Mat>& frames, Random& random) {
  for (size_t i = 1; i < frames.size(); ++i) frames[i] = frames[0].clone();
  const double kind = random.unit();
  if (kind < 0.5) return;
  if (kind < 0.75) {
    const auto at = static_cast<size_t>(1 + random.index(static_cast<int64_t>(frames.size()) - 1));
    SensorOptions encoder;
    encoder.noise = 0;
    encoder.jpeg_quality = static_cast<int>(random.uniform(60, 95));
    std::vector<cv::Mat> again{frames[0].clone()};
    record(again, encoder, random);
    for (size_t i = at; i < frames.size(); ++i) frames[i] = again[0].clone();
    return;
  }
  const std::vector<cv::Mat> still = frames;
  const double update = random.log_uniform(0.02, 1);
  for (double deviation = random.uniform(0.14, 0.6); deviation > 0.04; deviation *= 0.8) {
    std::transform(still.begin(), still.end(), frames.begin(),
                   [](const cv::Mat& frame) { return frame.clone(); });
    add_traces(frames, deviation, update, random);
    if (mean_change(frames) <= kFrozen) return;
  }
}

}  // namespace tome::train
