#include "plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <opencv2/imgproc.hpp>

#include "png_file.h"

namespace tome::cli {
namespace {

constexpr int kWidth = 960, kHeight = 600;
const cv::Rect kArea(90, 60, kWidth - 130, kHeight - 140);
const cv::Scalar kInk(40, 40, 40), kGrid(225, 225, 225);
const std::array<cv::Scalar, 5> kColours{
    cv::Scalar(180, 110, 30), {40, 120, 230}, {60, 150, 60}, {150, 70, 150}, {90, 90, 90}};

/// One axis: the range of the data, widened to whole steps.
struct Axis {
  double low = 0, high = 1, step = 1;
  double place(double value) const { return (value - low) / (high - low); }
};

Axis fit_axis(double low, double high) {
  if (high - low < 1e-9) high = low + 1;
  const double rough = (high - low) / 6;
  const double scale = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / scale;
  const double step = scale * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  return {std::floor(low / step) * step, std::ceil(high / step) * step, step};
}

void write_text(cv::Mat& picture, const std::string& text, cv::Point at, double size = 0.45,
                bool centred = false) {
  if (centred) {
    at.x -= cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, size, 1, nullptr).width / 2;
  }
  cv::putText(picture, text, at, cv::FONT_HERSHEY_SIMPLEX, size, kInk, 1, cv::LINE_AA);
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text.data();
}

void draw_axes(cv::Mat& picture, const Axis& x, const Axis& y) {
  for (double v = x.low; v <= x.high + x.step / 2; v += x.step) {
    const int px = kArea.x + static_cast<int>(std::lround(x.place(v) * kArea.width));
    cv::line(picture, {px, kArea.y}, {px, kArea.br().y}, kGrid);
    write_text(picture, number_text(v), {px, kArea.br().y + 20}, 0.45, true);
  }
  for (double v = y.low; v <= y.high + y.step / 2; v += y.step) {
    const int py = kArea.br().y - static_cast<int>(std::lround(y.place(v) * kArea.height));
    cv::line(picture, {kArea.x, py}, {kArea.br().x, py}, kGrid);
    write_text(picture, number_text(v), {kArea.x - 55, py + 5});
  }
  cv::rectangle(picture, kArea, kInk);
}

}  // namespace

void write_plot(const std::filesystem::path& file, const std::string& title,
                const std::string& x_title, const std::string& y_title,
                const std::vector<PlotSeries>& series) {
  double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
  for (const auto& each : series) {
    for (const auto& point : each.points) {
      x_low = std::min(x_low, point.x), x_high = std::max(x_high, point.x);
      y_low = std::min(y_low, point.y), y_high = std::max(y_high, point.y);
    }
  }
  const Axis x = fit_axis(x_low, x_high), y = fit_axis(y_low, y_high);
  cv::Mat picture(kHeight, kWidth, CV_8UC3, cv::Scalar(255, 255, 255));
  draw_axes(picture, x, y);
  write_text(picture, title, {kWidth / 2, 30}, 0.6, true);
  write_text(picture, x_title, {kArea.x + kArea.width / 2, kHeight - 25}, 0.5, true);
  write_text(picture, y_title, {10, kArea.y - 15}, 0.5);
  for (size_t i = 0; i < series.size(); ++i) {
    const cv::Scalar colour = kColours[i % kColours.size()];
    std::vector<cv::Point> line;
    for (const auto& point : series[i].points) {
      line.emplace_back(
          kArea.x + static_cast<int>(std::lround(x.place(point.x) * kArea.width)),
          kArea.br().y - static_cast<int>(std::lround(y.place(point.y) * kArea.height)));
      cv::circle(picture, line.back(), 4, colour, cv::FILLED, cv::LINE_AA);
      write_text(picture, point.label, line.back() + cv::Point(7, -7));
    }
    cv::polylines(picture, line, /*isClosed=*/false, colour, 1, cv::LINE_AA);
    const cv::Point legend(kArea.x + 12, kArea.y + 20 + 20 * static_cast<int>(i));
    cv::circle(picture, legend, 4, colour, cv::FILLED, cv::LINE_AA);
    write_text(picture, series[i].name, legend + cv::Point(10, 5));
  }
  write_png("--plot", file, picture);
}

}  // namespace tome::cli
