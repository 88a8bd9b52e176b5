// What the virtual camera looks at: pictures, real clips and textures made on the spot.
#pragma once

#include <filesystem>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "train/random.h"

namespace tome::train {

/// A still picture is one frame; a clip whose own camera stands still is several. RGB, 8 bits, of
/// square pixels, see cli::reduced_size().
struct Background {
  std::vector<cv::Mat> frames;
  std::string name;
  bool live() const { return frames.size() > 1; }
};

/// Which side of the split a file is on. It depends on the file's name alone, so that a picture
/// stays held out whatever folder it is in.
enum class Part { kTrain, kHeldOut };

struct BackgroundOptions {
  std::vector<std::filesystem::path> pictures, clips;  ///< folders, read recursively
  Part part = Part::kTrain;
  int short_side = 288;       ///< of pictures, pixels; larger ones are reduced to it
  int clip_short_side = 216;  ///< of clips
  int max_frames = 40;        ///< of one clip
};

/// True for one file name in eight.
bool is_held_out(const std::string& file_name);

/// Reads all pictures and clips. A file that cannot be decoded is skipped with a line on stderr.
/// Clips whose camera moves give stills only.
/// @throws Error kNotFound for a folder that is not there, kFormat if folders were given and
/// nothing
///   in them is on this side of the split, or nothing of it can be read
std::vector<Background> load_backgrounds(const BackgroundOptions& options);

/// See Note [Which clips stand still].
bool camera_stands_still(const std::vector<cv::Mat>& frames);

/// A texture with structure at all scales: fractal noise, patches, lines, discs, in random colours.
cv::Mat make_texture(int width, int height, Random& random);

}  // namespace tome::train
