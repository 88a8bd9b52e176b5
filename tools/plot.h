// Line charts with nothing but OpenCV.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace tome::cli {

struct PlotPoint {
  double x = 0, y = 0;
  std::string label;
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
};

/// Draws the series as labelled points joined by lines, axes fitted to the data, for --plot.
/// @throws Error kFailed if the file cannot be written
void write_plot(const std::filesystem::path& file, const std::string& title,
                const std::string& x_title, const std::string& y_title,
                const std::vector<PlotSeries>& series);

}  // namespace tome::cli
