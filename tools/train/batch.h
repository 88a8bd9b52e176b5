// Batches for training: where they come from and how they are made ahead of time.
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <opencv2/core.hpp>
#include <string>
#include <thread>
#include <vector>

#include "media/preprocess.h"
#include "train/generator.h"
#include "vit/config.h"

namespace tome::train {

struct Batch {
  at::Tensor patches;  ///< float32 [B, T, n, 3 * p * p], normalised as the model's input is
  at::Tensor labels;   ///< int64 [B]
  at::Tensor others;   ///< int64 [B], labels of what is mixed in; undefined if nothing is
  double share = 1;    ///< of `labels` where samples are mixed
  at::Tensor motion;   ///< float32 [B, patch tokens, 2], pixels per frame; undefined if unknown
  at::Tensor motion_weight;  ///< float32 [B], 0 where the scene's motion cannot be seen
};

/// Settings that change the result of a run, by name: a killed run goes on with the same ones only.
using RunSettings = std::map<std::string, std::string>;

/// The shortest text that reads back as the same number.
std::string exact(double number);

/// Anything that can make batch number `index` on its own, on any thread: the same index always
/// gives the same batch.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual Batch batch(int64_t index) const = 0;
  virtual std::vector<std::string> labels() const = 0;
  virtual RunSettings settings() const { return {}; }
};

/// Writes RGB frames (8 bits, the model's size) as one sample's patch rows, normalised to the bit
/// as preprocess_to_patches does.
void frames_to_patches(const std::vector<cv::Mat>& frames, int64_t patch,
                       const PreprocessSpec& preprocess, float* patches);

/// Clips of the virtual camera. Difficulty rises from 0 to 1 over `ramp_batches`.
class GeneratorSource : public BatchSource {
 public:
  /// @throws Error kSettings if the model's input is not what the generator makes: square, clips
  GeneratorSource(std::shared_ptr<const CameraStateGenerator> generator, const ViTConfig& config,
                  const PreprocessSpec& preprocess, int64_t batch_size, int64_t ramp_batches);
  Batch batch(int64_t index) const override;
  /// Clips [begin, end) of the generator, in one batch. @param difficulty  see CameraStateGenerator
  Batch clips(int64_t begin, int64_t end, double difficulty = 1) const;
  std::vector<std::string> labels() const override { return camera_state_labels(); }
  RunSettings settings() const override;

 private:
  std::shared_ptr<const CameraStateGenerator> generator_;
  ViTConfig config_;
  PreprocessSpec preprocess_;
  int64_t batch_size_, ramp_batches_;
};

/// What generated clips are made of.
struct GeneratorData {
  std::string generator;                     ///< camera-state
  std::vector<std::string> pictures, clips;  ///< folders; none: textures
  uint64_t seed = 1;
};

/// The generator over the files of one side of the split, for models of `config`. The held-out side
/// shows pictures alone, no made textures, and has random numbers of its own.
/// @throws Error kSettings for an unknown generator or a model it makes no clips for (see
///   GeneratorSource), else as load_backgrounds()
std::unique_ptr<GeneratorSource> make_generator_source(const GeneratorData& data, Part part,
                                                       const ViTConfig& config,
                                                       const PreprocessSpec& preprocess,
                                                       int64_t batch_size, int64_t ramp_batches);

/// Makes batches first, first + 1, … on threads of its own, a few ahead, and hands them out in
/// order.
class BatchLoader {
 public:
  /// @param threads  >= 1. @throws Error kFailed if the system does not give them
  BatchLoader(const BatchSource& source, int64_t first, int64_t end, int threads);
  ~BatchLoader();
  /// The next batch. Errors of the source are thrown here.
  Batch next();

 private:
  void work();
  void stop();
  const BatchSource& source_;
  int64_t wanted_, next_, end_;
  size_t ahead_;
  std::map<int64_t, Batch> ready_;
  std::exception_ptr error_;
  bool stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::jthread> threads_;
};

}  // namespace tome::train
