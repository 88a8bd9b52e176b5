// Line charts: every range of data is drawn, and what is no number is left out.
#include "plot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <opencv2/imgcodecs.hpp>

#include "tome_error.h"

namespace tome::cli {
namespace {

namespace fs = std::filesystem;

class Plot : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove(file_); }

  /// A chart of one line, or of several below each other, without title or legend.
  cv::Mat drawn(const std::vector<std::vector<PlotPoint>>& lines) const {
    std::vector<PlotPanel> panels;
    for (const auto& points : lines) panels.push_back({"", {{"", points, /*dots=*/false}}});
    write_plot("--plot", file_, "", "", panels);
    return cv::imread(file_.string());
  }

  /// Columns in which something is not grey: the line's, whose edges are smoothed.
  static int coloured(const cv::Mat& picture) {
    int columns = 0;
    for (int column = 0; column < picture.cols; ++column) {
      for (int row = 0; row < picture.rows; ++row) {
        const auto& pixel = picture.at<cv::Vec3b>(row, column);
        if (pixel[0] - pixel[2] < 40) continue;
        ++columns;
        break;
      }
    }
    return columns;
  }

  fs::path file_ = fs::path(::testing::TempDir()) / "plot_test.png";
};

TEST_F(Plot, EveryRangeHasAnAxis) {
  for (const double y : {0.0, 1.0, -5e-7, 1e-12, 1e16, -1e300}) {
    EXPECT_GT(coloured(drawn({{{0, y, ""}, {1, y, ""}}})), 100) << "a flat line at " << y;
    EXPECT_GT(coloured(drawn({{{0, y, ""}, {1, 2 * y + 1e-6, ""}}})), 100) << "one from " << y;
  }
}

TEST_F(Plot, WhatIsNoNumberIsLeftOut) {
  const std::vector<PlotPoint> line{{0, 1, ""}, {1, 2, ""}};
  const std::vector<PlotPoint> gaps{
      {0, 1, ""}, {0.25, NAN, ""}, {0.5, INFINITY, ""}, {NAN, 7, ""}, {1, 2, ""}};
  EXPECT_EQ(cv::norm(drawn({gaps}), drawn({line}), cv::NORM_L1), 0);
  EXPECT_EQ(coloured(drawn({{{0, NAN, ""}}})), 0);
  EXPECT_EQ(coloured(drawn({{}})), 0);
}

TEST_F(Plot, PanelsShareTheAxisOfX) {
  // The upper line ends where half of the lower one is.
  const cv::Mat picture = drawn({{{0, 1, ""}, {50, 1, ""}}, {{0, 1, ""}, {100, 1, ""}}});
  const int half = picture.rows / 2;
  const int upper = coloured(picture.rowRange(0, half));
  const int lower = coloured(picture.rowRange(half, picture.rows));
  EXPECT_NEAR(static_cast<double>(lower) / upper, 2, 0.02);
}

TEST_F(Plot, AFileThatCannotBeWrittenIsNamedWithItsOption) {
  const fs::path nowhere = file_ / "no" / "folder.png";
  try {
    write_plot("--out", nowhere, "", "", {{"", {}}});
    FAIL() << "it was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFailed);
    EXPECT_NE(std::string(error.what()).find("--out: '" + nowhere.string()), std::string::npos);
  }
}

}  // namespace
}  // namespace tome::cli
