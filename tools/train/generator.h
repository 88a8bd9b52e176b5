// Labelled clips of a virtual camera: the training data of models/camera-state.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "train/backgrounds.h"
#include "train/camera_path.h"
#include "train/camera_state.h"
#include "train/random.h"

namespace tome::train {

struct GeneratorOptions {
  int frames = 8;
  int size = 96;    ///< pixels, both sides, of the frames that come out
  int grid = 6;     ///< rows and columns of the motion field
  int tubelet = 2;  ///< frames of one cell of the motion field
  double difficulty = 1;
  double texture_share = 0.12;  ///< clips over made textures in place of pictures
};

struct GeneratedClip {
  std::vector<cv::Mat> frames;  ///< RGB, 8 bits, size x size
  CameraState state = CameraState::kSteady;
  /// Motion of the content that the camera causes, pixels per frame, right and down, for each
  /// tubelet's cell: [frames / tubelet][grid][grid][2]. Foreground objects do not count.
  std::vector<float> motion;
  bool motion_valid = true;  ///< false where the scene cannot be seen (covered)
};

/// Renders clips. Every clip depends on (seed, index) alone, so any number of threads may render,
/// in any order, and a run that was interrupted continues with the clips it would have seen.
class CameraStateGenerator {
 public:
  /// @param backgrounds  may be empty: textures alone
  CameraStateGenerator(GeneratorOptions options, std::vector<Background> backgrounds,
                       uint64_t seed);

  /// Clip `index`; its state is index modulo the number of states, so batches are balanced.
  GeneratedClip clip(uint64_t index, double difficulty) const;
  GeneratedClip clip(uint64_t index) const { return clip(index, options_.difficulty); }
  /// The same with a state of the caller's choice.
  GeneratedClip clip_of(CameraState state, uint64_t index, double difficulty) const;

  const GeneratorOptions& options() const { return options_; }
  size_t backgrounds() const { return backgrounds_.size(); }
  /// Of the backgrounds' names and sizes.
  std::string backgrounds_hash() const;

 private:
  struct Scene {
    std::vector<cv::Mat> frames;
    std::vector<Pose> path;
  };
  const cv::Mat& draw_texture(Random& random) const;
  Background draw_background(Random& random) const;
  /// A scene on which the state can be told, see Note [What an observer could tell].
  Scene draw_scene(CameraState state, double difficulty, Random& random) const;

  GeneratorOptions options_;
  std::vector<Background> backgrounds_;
  std::vector<cv::Mat> textures_;
  uint64_t seed_;
};

/// Renders the view of one pose. `out` has its size already; bilinear, mirrored beyond the border.
void render_view(const cv::Mat& background, const Pose& pose, cv::Mat& out);

}  // namespace tome::train
