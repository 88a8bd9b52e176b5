// Pictures as PNG files.
#pragma once

#include <filesystem>
#include <opencv2/core/mat.hpp>
#include <string>

namespace tome::cli {

/// Before the work that is to be drawn: can a picture be written there?
/// @param option  the one that names it
/// @throws Error kSettings for a name that does not end in .png or is a folder's, and for a folder
///   that is not there or may not be written
void check_png_file(const std::string& option, const std::filesystem::path& file);

/// @param picture  BGR, 8 bits
/// @throws Error kFailed if the file cannot be written
void write_png(const std::string& option, const std::filesystem::path& file,
               const cv::Mat& picture);

}  // namespace tome::cli
