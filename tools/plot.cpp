#include "plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <opencv2/imgproc.hpp>

#include "png_file.h"

namespace tome::cli {
namespace {

constexpr int kWidth = 960, kLeft = 90, kRight = 40, kTop = 70, kBottom = 70, kGap = 50;
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr double kFontSize = 0.45;
const cv::Scalar kInk(40, 40, 40), kGrid(225, 225, 225);
const std::array<cv::Scalar, 5> kColours{
    cv::Scalar(180, 110, 30), {40, 120, 230}, {60, 150, 60}, {150, 70, 150}, {90, 90, 90}};

bool is_whole(const PlotPoint& point) { return std::isfinite(point.x) && std::isfinite(point.y); }

/// The range of some numbers; of none, from high to low.
struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value) { low = std::min(low, value), high = std::max(high, value); }
};

/// One axis: the range of the data, widened to whole steps.
struct Axis {
  double low = 0, high = 1, step = 1;
  double place(double value) const { return (value - low) / (high - low); }
  std::vector<double> marks() const {
    std::vector<double> values;
    for (long i = 0; i <= std::lround((high - low) / step); ++i) {
      values.push_back(low + static_cast<double>(i) * step);
    }
    return values;
  }
};

Axis fit_axis(Range range) {
  if (range.low > range.high) return {};
  const double least = 1e-9 * std::max(std::abs(range.low), std::abs(range.high));
  if (range.high - range.low <= least) range.high = range.low + std::max(1.0, 1e3 * least);
  const double rough = (range.high - range.low) / 6;
  const double scale = std::pow(10.0, std::floor(std::log10(rough)));
  const double lead = rough / scale;
  const double step = scale * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  return {std::floor(range.low / step) * step, std::ceil(range.high / step) * step, step};
}

int width_of(const std::string& text, double size = kFontSize) {
  return cv::getTextSize(text, kFont, size, 1, nullptr).width;
}

void write_text(cv::Mat& picture, const std::string& text, cv::Point at, double size = kFontSize) {
  cv::putText(picture, text, at, kFont, size, kInk, 1, cv::LINE_AA);
}

void write_centred(cv::Mat& picture, const std::string& text, cv::Point at, double size) {
  write_text(picture, text, at - cv::Point(width_of(text, size) / 2, 0), size);
}

std::string number_text(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text.data();
}

/// Where a panel lies, and what its axes are.
struct Chart {
  cv::Rect area;
  Axis x, y;

  int column(double value) const {
    return area.x + static_cast<int>(std::lround(x.place(value) * area.width));
  }
  int row(double value) const {
    return area.br().y - static_cast<int>(std::lround(y.place(value) * area.height));
  }
};

void draw_axes(cv::Mat& picture, const Chart& chart, bool label_x) {
  const cv::Rect& area = chart.area;
  for (const double mark : chart.x.marks()) {
    const int at = chart.column(mark);
    cv::line(picture, {at, area.y}, {at, area.br().y}, kGrid);
    if (label_x) write_centred(picture, number_text(mark), {at, area.br().y + 20}, kFontSize);
  }
  for (const double mark : chart.y.marks()) {
    const int at = chart.row(mark);
    const std::string text = number_text(mark);
    cv::line(picture, {area.x, at}, {area.br().x, at}, kGrid);
    write_text(picture, text, {area.x - 8 - width_of(text), at + 5});
  }
  cv::rectangle(picture, area, kInk);
}

void draw_series(cv::Mat& picture, const Chart& chart, const PlotSeries& series,
                 const cv::Scalar& colour) {
  std::vector<cv::Point> line;
  for (const auto& point : series.points) {
    if (!is_whole(point)) continue;
    line.emplace_back(chart.column(point.x), chart.row(point.y));
    if (series.dots) cv::circle(picture, line.back(), 4, colour, cv::FILLED, cv::LINE_AA);
    write_text(picture, point.label, line.back() + cv::Point(7, -7));
  }
  cv::polylines(picture, line, /*isClosed=*/false, colour, 1, cv::LINE_AA);
}

void draw_panel(cv::Mat& picture, const Chart& chart, const PlotPanel& panel, bool label_x) {
  draw_axes(picture, chart, label_x);
  const int above = chart.area.y - 15;
  write_text(picture, panel.y_title, {10, above}, 0.5);
  int right = chart.area.br().x;  // of the legend, from the last name to the first
  for (size_t i = panel.series.size(); i-- > 0;) {
    const PlotSeries& series = panel.series[i];
    const cv::Scalar& colour = kColours[i % kColours.size()];
    draw_series(picture, chart, series, colour);
    if (series.name.empty()) continue;
    right -= width_of(series.name);
    write_text(picture, series.name, {right, above});
    cv::circle(picture, {right - 10, above - 4}, 4, colour, cv::FILLED, cv::LINE_AA);
    right -= 35;
  }
}

Range range_of(const PlotPanel& panel, double PlotPoint::*coordinate) {
  Range range;
  for (const auto& series : panel.series) {
    for (const auto& point : series.points) {
      if (is_whole(point)) range.add(point.*coordinate);
    }
  }
  return range;
}

}  // namespace

void write_plot(const std::string& option, const std::filesystem::path& file,
                const std::string& title, const std::string& x_title,
                const std::vector<PlotPanel>& panels) {
  const int count = static_cast<int>(panels.size());
  const int height = count == 1 ? 460 : 200;
  Range x;
  for (const auto& panel : panels) {
    const Range range = range_of(panel, &PlotPoint::x);
    x.low = std::min(x.low, range.low), x.high = std::max(x.high, range.high);
  }
  cv::Mat picture(kTop + count * (height + kGap) - kGap + kBottom, kWidth, CV_8UC3,
                  cv::Scalar(255, 255, 255));
  write_centred(picture, title, {kWidth / 2, 30}, 0.6);
  for (int i = 0; i < count; ++i) {
    const PlotPanel& panel = panels[static_cast<size_t>(i)];
    const cv::Rect area(kLeft, kTop + i * (height + kGap), kWidth - kLeft - kRight, height);
    draw_panel(picture, {area, fit_axis(x), fit_axis(range_of(panel, &PlotPoint::y))}, panel,
               i + 1 == count);
  }
  write_centred(picture, x_title, {kLeft + (kWidth - kLeft - kRight) / 2, picture.rows - 20}, 0.5);
  write_png(option, file, picture);
}

}  // namespace tome::cli
