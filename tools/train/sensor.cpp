#include "train/sensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

namespace tome::train {
namespace {

constexpr int kNoiseTable = 1 << 20;
constexpr int kNoiseUnit = 256;  // table value of one standard deviation

/// Normal numbers, made once: drawing them for every pixel would cost more than the rendering.
const std::vector<int16_t>& noise_table() {
  static const std::vector<int16_t> table = [] {
    std::vector<int16_t> values(kNoiseTable);
    Random random(0x7e5f);
    for (int16_t& value : values) {
      value = static_cast<int16_t>(std::clamp(random.normal(), -4.0, 4.0) * kNoiseUnit);
    }
    return values;
  }();
  return table;
}

void add_noise(cv::Mat& frame, double deviation, bool grey, Random& random) {
  const std::vector<int16_t>& table = noise_table();
  const int scale = static_cast<int>(std::lround(deviation * 64));
  constexpr int kShift = 14;  // 256 (table) * 64 (scale)
  for (int y = 0; y < frame.rows; ++y) {
    uint8_t* row = frame.ptr<uint8_t>(y);
    const int count = frame.cols * 3;
    const int16_t* noise = table.data() + random.index(kNoiseTable - count);
    if (grey) {
      for (int x = 0; x < frame.cols; ++x) {
        const int add = (noise[x] * scale + (1 << (kShift - 1))) >> kShift;
        for (int c = 0; c < 3; ++c) {
          row[3 * x + c] = static_cast<uint8_t>(std::clamp(row[3 * x + c] + add, 0, 255));
        }
      }
    } else {
      for (int i = 0; i < count; ++i) {
        const int value = row[i] + ((noise[i] * scale + (1 << (kShift - 1))) >> kShift);
        row[i] = static_cast<uint8_t>(std::clamp(value, 0, 255));
      }
    }
  }
}

/// Gain, gamma and tint of one frame as a table for each channel.
cv::Mat exposure_table(const SensorOptions& options, int frame) {
  double gain = options.gain * (1 + options.gain_drift * frame);
  if (frame % 2 == 1) gain *= 1 + options.flicker;
  cv::Mat table(1, 256, CV_8UC3);
  for (int i = 0; i < 256; ++i) {
    const double level = 255 * std::pow(i / 255.0, options.gamma) * gain;
    for (int c = 0; c < 3; ++c) {
      table.at<cv::Vec3b>(i)[c] =
          static_cast<uint8_t>(std::clamp(level * options.tint[c] + 0.5, 0.0, 255.0));
    }
  }
  return table;
}

double block_difference(const cv::Mat& a, const cv::Mat& b, const cv::Rect& block) {
  int64_t sum = 0;
  for (int y = block.y; y < block.y + block.height; ++y) {
    const uint8_t* pa = a.ptr<uint8_t>(y) + 3 * block.x;
    const uint8_t* pb = b.ptr<uint8_t>(y) + 3 * block.x;
    int row = 0;
    for (int i = 0; i < 3 * block.width; ++i) row += std::abs(pa[i] - pb[i]);
    sum += row;
  }
  return static_cast<double>(sum) / (3.0 * block.area());
}

/// An encoder's decision depends on more than the difference: each block draws its own threshold
/// around the given one, so that a still scene repeats in part and never as a whole.
void skip_still_blocks(cv::Mat& frame, const cv::Mat& last, const SensorOptions& options,
                       Random& random) {
  for (int y = 0; y < frame.rows; y += options.skip_block) {
    for (int x = 0; x < frame.cols; x += options.skip_block) {
      const cv::Rect block(x, y, std::min(options.skip_block, frame.cols - x),
                           std::min(options.skip_block, frame.rows - y));
      const double threshold = options.skip_threshold * random.uniform(0.4, 1.6);
      if (block_difference(frame, last, block) < threshold) {
        last(block).copyTo(frame(block));
      }
    }
  }
}

/// A clock in a corner and a logo, as cameras and channels burn them in.
void draw_overlay(std::vector<cv::Mat>& frames, Random& random) {
  const int height = frames[0].rows;
  const double scale = height * random.uniform(0.0012, 0.003);
  const bool top = random.chance(0.5);
  const cv::Point at(static_cast<int>(frames[0].cols * random.uniform(0.02, 0.3)),
                     top ? height / 10 : height * 19 / 20);
  const int64_t clock = random.index(1000000);
  const bool white = random.chance(0.8);
  for (cv::Mat& frame : frames) {
    cv::putText(frame, "CAM " + std::to_string(clock), at, cv::FONT_HERSHEY_SIMPLEX, scale,
                white ? cv::Scalar::all(250) : cv::Scalar::all(5), 1 + static_cast<int>(scale));
  }
}

}  // namespace

SensorOptions draw_sensor(Random& random) {
  SensorOptions options;
  options.noise = random.log_uniform(0.5, 9);
  options.grey_noise = random.chance(0.4);
  options.gain = random.uniform(0.7, 1.25);
  options.gamma = random.log_uniform(0.65, 1.6);
  if (random.chance(0.3)) options.gain_drift = random.uniform(-0.02, 0.02);
  if (random.chance(0.15)) options.flicker = random.uniform(-0.04, 0.04);
  for (double& tint : options.tint) tint = random.uniform(0.9, 1.1);
  options.monochrome = random.chance(0.15);
  if (random.chance(0.15)) options.jpeg_quality = static_cast<int>(random.uniform(25, 90));
  if (random.chance(0.35)) options.skip_threshold = options.noise * random.uniform(0.5, 1.6);
  options.overlay = random.chance(0.2);
  return options;
}

void record(std::vector<cv::Mat>& frames, const SensorOptions& options, Random& random) {
  for (size_t i = 0; i < frames.size(); ++i) {
    cv::Mat& frame = frames[i];
    cv::LUT(frame, exposure_table(options, static_cast<int>(i)), frame);
    if (options.monochrome) {
      cv::Mat grey;
      cv::cvtColor(frame, grey, cv::COLOR_RGB2GRAY);
      cv::cvtColor(grey, frame, cv::COLOR_GRAY2RGB);
    }
    if (options.noise > 0) {
      add_noise(frame, options.noise, options.grey_noise || options.monochrome, random);
    }
  }
  if (options.overlay) draw_overlay(frames, random);
  for (size_t i = 0; i < frames.size(); ++i) {
    if (options.skip_threshold > 0 && i > 0) {
      skip_still_blocks(frames[i], frames[i - 1], options, random);
    }
    if (options.jpeg_quality > 0) {
      std::vector<uint8_t> bytes;
      cv::imencode(".jpg", frames[i], bytes, {cv::IMWRITE_JPEG_QUALITY, options.jpeg_quality});
      frames[i] = cv::imdecode(bytes, cv::IMREAD_COLOR);
    }
  }
}

}  // namespace tome::train
