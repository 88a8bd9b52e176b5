// Line charts as PNG, with nothing but OpenCV.
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

/// Before the work that is to be drawn: can write_plot() write there?
/// @throws Error kSettings for a name that does not end in .png, or a folder that is not there
void check_plot_file(const std::filesystem::path& file);

/// Draws the series as labelled points joined by lines, axes fitted to the data.
/// @throws Error kFailed if the file cannot be written
void write_plot(const std::filesystem::path& file, const std::string& title,
                const std::string& x_title, const std::string& y_title,
                const std::vector<PlotSeries>& series);

}  // namespace tome::cli
