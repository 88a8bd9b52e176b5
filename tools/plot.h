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
  std::string name;  ///< empty: not in the legend
  std::vector<PlotPoint> points;
  bool dots = true;  ///< false: the line alone, for many points
};

/// A chart with an axis of its own for y.
struct PlotPanel {
  std::string y_title;
  std::vector<PlotSeries> series;
};

/// Draws panels below each other, over one axis for x: series as labelled points joined by lines,
/// axes fitted to the data. What is not a number is left out.
/// @param option  the one that names the file
/// @throws Error kFailed if the file cannot be written
void write_plot(const std::string& option, const std::filesystem::path& file,
                const std::string& title, const std::string& x_title,
                const std::vector<PlotPanel>& panels);

}  // namespace tome::cli
