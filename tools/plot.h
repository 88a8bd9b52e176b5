// Line charts, and pictures as PNG files, with nothing but OpenCV.
#pragma once

#include <filesystem>
#include <opencv2/core/mat.hpp>
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

/// Before the work that is to be drawn: can a picture be written there?
/// @param option  the one that names it
/// @throws Error kSettings for a name that does not end in .png, or a folder that is not there
void check_png_file(const std::string& option, const std::filesystem::path& file);

/// @throws Error kFailed if the file cannot be written
void write_png(const std::string& option, const std::filesystem::path& file,
               const cv::Mat& picture);

/// Draws the series as labelled points joined by lines, axes fitted to the data, for --plot.
/// @throws Error kFailed if the file cannot be written
void write_plot(const std::filesystem::path& file, const std::string& title,
                const std::string& x_title, const std::string& y_title,
                const std::vector<PlotSeries>& series);

}  // namespace tome::cli
