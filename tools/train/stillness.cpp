#include "train/stillness.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "train/sensor.h"

namespace tome::train {
namespace {

// Note [Still or frozen]
// At 64 x 64, a real still scene with a sensor's noise, encoded by H.264 at usual quality and
// decoded, differs from frame to frame in 6 to 20 % of its values, by one grey level (0.07 to 0.2
// on average); a scene that repeats one frame exactly, encoded in the same way, in at most 4 %. So
// a generated living camera changes by at least kAlive, and a generated frozen one flickers by at
// most kFrozen.
constexpr double kAlive = 0.07;
constexpr double kFrozen = 0.035;

constexpr int kBlock = 8;

}  // namespace

double mean_change(const std::vector<cv::Mat>& frames) {
  double sum = 0;
  for (size_t i = 1; i < frames.size(); ++i) {
    sum += cv::norm(frames[i], frames[i - 1], cv::NORM_L1);
  }
  return sum / (3.0 * static_cast<double>(frames[0].total() * (frames.size() - 1)));
}

void add_traces(std::vector<cv::Mat>& frames, double deviation, Random& random) {
  cv::RNG noise(random.next());
  // Flat blocks are skipped more often than others.
  cv::Mat strength((frames[0].rows + kBlock - 1) / kBlock, (frames[0].cols + kBlock - 1) / kBlock,
                   CV_32F);
  const double spread = random.unit();
  for (int y = 0; y < strength.rows; ++y) {
    for (int x = 0; x < strength.cols; ++x) {
      strength.at<float>(y, x) =
          static_cast<float>(deviation * (1 + spread * random.uniform(-1, 1)));
    }
  }
  cv::resize(strength, strength, frames[0].size(), 0, 0, cv::INTER_NEAREST);
  cv::cvtColor(strength, strength, cv::COLOR_GRAY2RGB);
  const bool grey = random.chance(0.5);
  for (cv::Mat& frame : frames) {
    cv::Mat add(frame.size(), grey ? CV_32F : CV_32FC3);
    noise.fill(add, cv::RNG::NORMAL, 0, 1);
    if (grey) cv::cvtColor(add, add, cv::COLOR_GRAY2RGB);
    cv::Mat sum;
    frame.convertTo(sum, CV_32F);
    sum += add.mul(strength);
    sum.convertTo(frame, CV_8U);
  }
}

void keep_alive(std::vector<cv::Mat>& frames, Random& random) {
  for (double least = 0.24; mean_change(frames) < kAlive && least < 1; least *= 1.15) {
    add_traces(frames, random.log_uniform(least, least * 1.5), random);
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
  for (double deviation = random.uniform(0.14, 0.21); deviation > 0.05; deviation *= 0.9) {
    std::transform(still.begin(), still.end(), frames.begin(),
                   [](const cv::Mat& frame) { return frame.clone(); });
    add_traces(frames, deviation, random);
    if (mean_change(frames) <= kFrozen) return;
  }
}

}  // namespace tome::train
