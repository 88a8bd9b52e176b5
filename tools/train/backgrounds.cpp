#include "train/backgrounds.h"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <set>

#include "error_line.h"
#include "folder_entries.h"
#include "frame_pixels.h"
#include "media_reader.h"
#include "tome_error.h"
#include "train/hash.h"

namespace tome::train {
namespace fs = std::filesystem;
namespace {

const std::set<std::string> kPictureEndings{".jpg", ".jpeg", ".png", ".bmp", ".webp"};
const std::set<std::string> kClipEndings{".mp4", ".avi", ".mkv", ".mov", ".webm"};

/// All files of these kinds below a folder that are on one side of the split, sorted, so that runs
/// repeat. @param others  counts the files of the other side
std::vector<fs::path> list_files(const fs::path& folder, const std::set<std::string>& endings,
                                 Part part, size_t& others) {
  if (!fs::is_directory(folder)) {
    throw Error(ErrorKind::kNotFound, "folder '" + folder.string() + "' is not there");
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || !endings.contains(cli::lower_ending(entry.path()))) continue;
    const bool held_out = is_held_out(entry.path().filename().string());
    if (held_out == (part == Part::kHeldOut)) {
      files.push_back(entry.path());
    } else {
      ++others;
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Folders were given and nothing came of them.
[[noreturn]] void refuse_folders(Part part, size_t files, size_t others) {
  const char* side = part == Part::kHeldOut ? "evaluation" : "training";
  if (files == 0 && others > 0) {
    throw Error(ErrorKind::kFormat,
                "--pictures, --clips: found " + std::to_string(others) +
                    " file(s), none of them for " + side +
                    ": a hash of its name holds one in eight out for evaluation and leaves the "
                    "others for training; expected one of each, add or rename some");
  }
  throw Error(ErrorKind::kFormat, "--pictures, --clips: found " + std::to_string(files) +
                                      " file(s) for " + side +
                                      ", none that can be read; expected .jpg, .png, .mp4 …");
}

void load_clip(const fs::path& path, const BackgroundOptions& options,
               std::vector<Background>& out) {
  std::vector<cv::Mat> frames;
  try {
    cv::Size size;  // of the first frame: a stream may change to another on the way
    cli::for_each_frame(path, [&](const Frame& frame, int64_t, double) {
      if (size.empty()) size = cli::reduced_size(frame, options.clip_short_side);
      frames.push_back(cli::rgb_pixels(frame, size));
      return static_cast<int>(frames.size()) < options.max_frames;
    });
  } catch (const Error&) {  // that there is none is said below
    frames.clear();
  }
  if (frames.size() < 16) {
    cli::say(std::string("'") + path.string() + "' gave " + std::to_string(frames.size()) +
             " frames, at least 16 are needed; skipped");
    return;
  }
  if (!camera_stands_still(frames)) frames = {frames.front().clone()};
  out.push_back({std::move(frames), path.filename().string()});
}

cv::Scalar random_colour(Random& random) {
  const double grey = random.uniform(10, 245);
  const double spread = random.uniform(0, 70);
  return {grey + random.uniform(-spread, spread), grey + random.uniform(-spread, spread),
          grey + random.uniform(-spread, spread)};
}

/// Smooth noise from a few random values per octave, blown up; amplitude falls with frequency.
cv::Mat fractal_noise(int width, int height, Random& random) {
  cv::Mat sum(height, width, CV_32FC3, random_colour(random));
  const double persistence = random.uniform(0.45, 0.8);
  double amplitude = random.uniform(25, 70);
  cv::RNG noise(random.next());
  for (int cells = 3; cells < std::max(width, height) / 2; cells *= 2) {
    cv::Mat coarse(std::max(2, cells * height / width), cells, CV_32FC3);
    noise.fill(coarse, cv::RNG::NORMAL, 0, amplitude);
    if (random.chance(0.7)) {  // mostly grey
      cv::Mat grey;
      cv::cvtColor(coarse, grey, cv::COLOR_RGB2GRAY);
      cv::cvtColor(grey, coarse, cv::COLOR_GRAY2RGB);
    }
    cv::Mat fine;
    cv::resize(coarse, fine, {width, height}, 0, 0, cv::INTER_CUBIC);
    sum += fine;
    amplitude *= persistence;
  }
  cv::Mat picture;
  sum.convertTo(picture, CV_8UC3);
  return picture;
}

}  // namespace

// Note [Which clips stand still]: a clip serves as a live background only if its own camera does
// not move, else "steady" would be a lie. The shift of the whole picture between frames eight apart
// is measured by phase correlation at 128 x 96; a still camera's stays below a third of a pixel.
bool camera_stands_still(const std::vector<cv::Mat>& frames) {
  std::vector<cv::Mat> gray;
  for (size_t i = 0; i < frames.size(); i += 8) {
    cv::Mat small;
    cv::Mat one;
    cv::resize(frames[i], small, {128, 96}, 0, 0, cv::INTER_AREA);
    cv::cvtColor(small, one, cv::COLOR_RGB2GRAY);
    one.convertTo(one, CV_64F);
    gray.push_back(one);
  }
  cv::Mat window;
  cv::createHanningWindow(window, {128, 96}, CV_64F);
  for (size_t i = 1; i < gray.size(); ++i) {
    const cv::Point2d shift = cv::phaseCorrelate(gray[i - 1], gray[i], window);
    if (std::hypot(shift.x, shift.y) > 0.33) return false;
  }
  return true;
}

bool is_held_out(const std::string& file_name) {
  return Random(Hash().add(file_name).value()).index(8) == 0;
}

std::vector<Background> load_backgrounds(const BackgroundOptions& options) {
  std::vector<Background> backgrounds;
  size_t files = 0;
  size_t others = 0;
  for (const fs::path& folder : options.pictures) {
    for (const fs::path& path : list_files(folder, kPictureEndings, options.part, others)) {
      ++files;
      try {
        const Frame picture = cli::read_picture(path);
        const cv::Size size = cli::reduced_size(picture, options.short_side);
        backgrounds.push_back({{cli::rgb_pixels(picture, size)}, path.filename().string()});
      } catch (const Error&) {
        cli::say(std::string("'") + path.string() + "' is no picture; skipped");
      }
    }
  }
  for (const fs::path& folder : options.clips) {
    for (const fs::path& path : list_files(folder, kClipEndings, options.part, others)) {
      ++files;
      load_clip(path, options, backgrounds);
    }
  }
  const bool asked = !options.pictures.empty() || !options.clips.empty();
  if (asked && backgrounds.empty()) refuse_folders(options.part, files, others);
  return backgrounds;
}

cv::Mat make_texture(int width, int height, Random& random) {
  cv::Mat picture = fractal_noise(width, height, random);
  const double size = std::sqrt(static_cast<double>(width) * height);
  const int shapes = static_cast<int>(random.log_uniform(4, 60));
  for (int i = 0; i < shapes; ++i) {
    const cv::Point at(static_cast<int>(random.index(width)),
                       static_cast<int>(random.index(height)));
    const int w = static_cast<int>(random.log_uniform(0.015, 0.3) * size) + 1;
    const int h = static_cast<int>(random.log_uniform(0.015, 0.3) * size) + 1;
    const cv::Scalar colour = random_colour(random);
    switch (random.index(4)) {
      case 0:
        cv::rectangle(picture, at, at + cv::Point(w, h), colour, cv::FILLED);
        break;
      case 1:
        cv::ellipse(picture, at, {w / 2 + 1, h / 2 + 1}, random.uniform(0, 180), 0, 360, colour,
                    cv::FILLED, cv::LINE_AA);
        break;
      case 2:
        cv::line(picture, at, at + cv::Point(w * 2, static_cast<int>(random.sign()) * h * 2),
                 colour,
                 1 + static_cast<int>(random.index(std::max(2, static_cast<int>(size) / 60))),
                 cv::LINE_AA);
        break;
      default:
        for (int k = 0; k < 6; ++k) {
          cv::rectangle(picture, at + cv::Point(k * w / 3, 0), at + cv::Point(k * w / 3 + w / 6, h),
                        colour, cv::FILLED);
        }
    }
  }
  return picture;
}

}  // namespace tome::train
