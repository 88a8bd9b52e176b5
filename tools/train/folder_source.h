// Batches from a labelled folder of pictures or videos.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataset.h"
#include "media/preprocess.h"
#include "train/batch.h"
#include "train/video.h"
#include "train/video_cache.h"

namespace tome::train {

struct FolderOptions {
  std::filesystem::path folder;
  std::shared_ptr<const cli::Dataset> dataset;  ///< what is in `folder`; null: it is read
  std::string split;                            ///< "" takes every sample
  bool augment = true;         ///< random crops, flips and places in time; else centre and middle
  int64_t frame_stride = 0;    ///< frames between two of a clip; 0: spread over the whole video
  double smallest_crop = 0.5;  ///< of the picture's area
  double jitter = 0;           ///< gain, offset and saturation vary by up to this share
  bool flip = true;
  /// Shared by sources of the same model and stride; null: one of its own, of the default size.
  std::shared_ptr<VideoCache> cache;
};

/// Samples in a new random order each epoch, the last batch of an epoch filled from the next one.
/// Videos are decoded when needed and kept, reduced, as long as the cache has room. A video that
/// ends early repeats its last frame; one without a single frame is an error that names it; the
/// first one of which not all is used at a stride is named on stderr, see read_video().
class FolderSource : public BatchSource {
 public:
  /// @throws Error kFormat if the folder has no sample of this split
  FolderSource(FolderOptions options, std::vector<std::string> labels, const ViTConfig& config,
               const PreprocessSpec& preprocess, int64_t batch_size, uint64_t seed);
  Batch batch(int64_t index) const override;
  std::vector<std::string> labels() const override { return labels_; }
  RunSettings settings() const override;
  /// Those of the labels that no sample has, mirrored or not.
  std::vector<std::string> labels_without_sample() const;
  int64_t samples() const { return static_cast<int64_t>(files_.size()); }

 private:
  std::shared_ptr<const Video> load(size_t sample) const;
  /// Places among the frames kept: of the first of a clip, and of its i-th.
  int64_t draw_first(const Video& video, Random& random) const;
  int64_t draw_frame(int64_t i, int64_t first, const Video& video, Random& random) const;
  std::vector<cv::Mat> draw_clip(const Video& video, Random& random, bool mirror) const;
  std::shared_ptr<const std::vector<size_t>> order_of(int64_t epoch) const;
  size_t sample_at(int64_t position) const;
  std::string data_hash() const;

  FolderOptions options_;
  std::vector<std::string> labels_;
  std::vector<int64_t> mirrored_;
  ViTConfig config_;
  PreprocessSpec preprocess_;
  int64_t batch_size_;
  uint64_t seed_;
  cv::Scalar fill_;  // RGB, 0 .. 255
  std::vector<std::filesystem::path> files_;
  std::vector<int64_t> classes_;
  VideoOptions video_options_;
  std::shared_ptr<VideoCache> cache_;
  mutable std::atomic<bool> warned_{false};
  mutable std::mutex order_mutex_;
  mutable std::map<int64_t, std::shared_ptr<const std::vector<size_t>>> orders_;
};

}  // namespace tome::train
