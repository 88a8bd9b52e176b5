// Batches from a folder of pictures or videos with labels.csv.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "media/preprocess.h"
#include "train/batch.h"

namespace tome::train {

struct FolderOptions {
  std::filesystem::path folder;
  std::string split;           ///< value of the split column; "" takes every row
  bool augment = true;         ///< random crops, flips and places in time; else centre and middle
  int64_t frame_stride = 0;    ///< frames between two of a clip; 0: spread over the whole video
  double smallest_crop = 0.5;  ///< of the picture's area
  double jitter = 0;           ///< gain, offset and saturation vary by up to this share
  bool flip = true;
};

/// The label each label turns into when the picture is mirrored: "pan-left" and "pan-right" swap
/// because both exist and differ in that word; the others stay.
std::vector<int64_t> mirrored_labels(const std::vector<std::string>& labels);

/// The distinct values of the label column of folder/labels.csv, sorted.
/// Empty ones are left out: a split may have no labels.
/// @throws Error kNotFound, kFormat if there is no label, or one that is not UTF-8
std::vector<std::string> read_label_names(const std::filesystem::path& folder);

/// Samples in a new random order each epoch, the last batch of an epoch filled from the next one.
/// Videos are decoded when first needed and kept, reduced, in memory. A video that ends early
/// repeats its last frame; one without a single frame is an error that names it.
class FolderSource : public BatchSource {
 public:
  /// @throws Error kFormat if the folder has no sample of this split
  FolderSource(FolderOptions options, std::vector<std::string> labels, const ViTConfig& config,
               const PreprocessSpec& preprocess, int64_t batch_size, uint64_t seed);
  Batch batch(int64_t index) const override;
  std::vector<std::string> labels() const override { return labels_; }
  RunSettings settings() const override;
  int64_t samples() const { return static_cast<int64_t>(files_.size()); }

 private:
  struct Video {
    std::vector<cv::Mat> frames;  // RGB
  };
  std::shared_ptr<const Video> load(size_t sample) const;
  /// Of a video of `length` frames: the first of a clip, and its i-th.
  int64_t draw_first(int64_t length, Random& random) const;
  int64_t draw_frame(int64_t i, int64_t first, int64_t length, Random& random) const;
  std::vector<cv::Mat> draw_clip(const Video& video, Random& random, bool mirror) const;
  std::shared_ptr<const std::vector<size_t>> order_of(int64_t epoch) const;
  size_t sample_at(int64_t position) const;

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
  mutable std::mutex mutex_;
  mutable std::map<size_t, std::shared_ptr<const Video>> videos_;
  mutable std::mutex order_mutex_;
  mutable std::map<int64_t, std::shared_ptr<const std::vector<size_t>>> orders_;
};

}  // namespace tome::train
