#include "png_file.h"

#include <unistd.h>

#include <opencv2/imgcodecs.hpp>
#include <system_error>

#include "tome_error.h"

namespace tome::cli {

void check_png_file(const std::string& option, const std::filesystem::path& file) {
  std::error_code ignored;  // what cannot be asked for is not there
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  const bool is_there = std::filesystem::exists(file, ignored);
  if (file.extension() != ".png" || !std::filesystem::is_directory(folder, ignored) ||
      std::filesystem::is_directory(file, ignored) ||
      access(is_there ? file.c_str() : folder.c_str(), W_OK) != 0) {
    throw Error(ErrorKind::kSettings, option + ": cannot write '" + file.string() +
                                          "'; expected a file in a folder that is there and may be "
                                          "written, with a name ending in .png");
  }
}

void write_png(const std::string& option, const std::filesystem::path& file,
               const cv::Mat& picture) {
  bool written = false;
  try {
    written = cv::imwrite(file.string(), picture);
  } catch (const cv::Exception&) {  // OpenCV throws for some of what it cannot write
  }
  if (!written) {
    throw Error(ErrorKind::kFailed, option + ": '" + file.string() + "' could not be written");
  }
}

}  // namespace tome::cli
