#include "train/batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <exception>

#include "media/colour.h"
#include "tome_error.h"

namespace tome::train {
namespace {

/// Frames and motion are written to tensors of the model's shape without looking at their size.
void check_input(const ViTConfig& config) {
  constexpr int64_t kLeastSide = 16;  // smaller, no scene has detail that defocus takes away
  const bool square = config.image_height == config.image_width;
  if (square && config.image_height >= kLeastSide && config.image_height % config.patch == 0 &&
      config.channels == 3 && config.frames >= 2 && config.frames % config.tubelet == 0) {
    return;
  }
  throw Error(ErrorKind::kSettings,
              "--generator makes square clips of at least " + std::to_string(kLeastSide) +
                  " pixels and 2 frames, but the model takes " + std::to_string(config.frames) +
                  " frame(s) of " + std::to_string(config.image_width) + " x " +
                  std::to_string(config.image_height) + " pixels");
}

}  // namespace

std::string exact(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

void frames_to_patches(const std::vector<cv::Mat>& frames, int64_t patch,
                       const PreprocessSpec& preprocess, float* patches) {
  const int p = static_cast<int>(patch);
  const Normalisation normalisation = normalisation_of(preprocess);
  float* out = patches;
  for (const cv::Mat& frame : frames) {
    for (int top = 0; top + p <= frame.rows; top += p) {
      for (int left = 0; left + p <= frame.cols; left += p) {
        for (size_t c = 0; c < 3; ++c) {
          const float mean = normalisation.mean[c];
          const float scale = normalisation.scale[c];
          for (int y = 0; y < p; ++y) {
            const uint8_t* row = frame.ptr<uint8_t>(top + y) + 3 * left + c;
            for (int x = 0; x < p; ++x) *out++ = (static_cast<float>(row[3 * x]) - mean) * scale;
          }
        }
      }
    }
  }
}

GeneratorSource::GeneratorSource(std::shared_ptr<const CameraStateGenerator> generator,
                                 const ViTConfig& config, const PreprocessSpec& preprocess,
                                 int64_t batch_size, int64_t ramp_batches)
    : generator_(std::move(generator)),
      config_(config),
      preprocess_(preprocess),
      batch_size_(batch_size),
      ramp_batches_(ramp_batches) {
  check_input(config_);
}

RunSettings GeneratorSource::settings() const {
  return {{"generator", "camera-state"},
          {"backgrounds", std::to_string(generator_->backgrounds())},
          {"data-hash", generator_->backgrounds_hash()},
          {"batch", std::to_string(batch_size_)},
          {"ramp", std::to_string(ramp_batches_)}};
}

Batch GeneratorSource::batch(int64_t index) const {
  const double difficulty =
      ramp_batches_ > 0
          ? std::min(1.0, static_cast<double>(index) / static_cast<double>(ramp_batches_))
          : 1.0;
  return clips(index * batch_size_, (index + 1) * batch_size_, difficulty);
}

Batch GeneratorSource::clips(int64_t begin, int64_t end, double difficulty) const {
  const int64_t cells = config_.grid_rows() * config_.grid_cols();
  const int64_t row = config_.channels * config_.patch * config_.patch;
  const int64_t count = end - begin;
  Batch batch;
  batch.patches = at::empty({count, config_.frames, cells, row});
  batch.labels = at::empty({count}, at::kLong);
  batch.motion = at::empty({count, config_.patch_tokens(), 2});
  batch.motion_weight = at::ones({count});
  for (int64_t i = 0; i < count; ++i) {
    const GeneratedClip clip = generator_->clip(static_cast<uint64_t>(begin + i), difficulty);
    frames_to_patches(clip.frames, config_.patch, preprocess_, batch.patches[i].data_ptr<float>());
    batch.labels[i] = static_cast<int64_t>(clip.state);
    std::copy(clip.motion.begin(), clip.motion.end(), batch.motion[i].data_ptr<float>());
    if (!clip.motion_valid) batch.motion_weight[i] = 0;
  }
  return batch;
}

std::unique_ptr<GeneratorSource> make_generator_source(const GeneratorData& data, Part part,
                                                       const ViTConfig& config,
                                                       const PreprocessSpec& preprocess,
                                                       int64_t batch_size, int64_t ramp_batches) {
  if (data.generator != "camera-state") {
    throw Error(ErrorKind::kSettings,
                "--generator '" + data.generator + "' is not known; expected camera-state");
  }
  check_input(config);  // before the pictures are read
  GeneratorOptions options;
  options.frames = static_cast<int>(config.frames);
  options.size = static_cast<int>(config.image_height);
  options.grid = static_cast<int>(config.grid_rows());
  options.tubelet = static_cast<int>(config.tubelet);
  BackgroundOptions backgrounds;
  backgrounds.pictures.assign(data.pictures.begin(), data.pictures.end());
  backgrounds.clips.assign(data.clips.begin(), data.clips.end());
  backgrounds.part = part;
  uint64_t seed = data.seed;
  if (part == Part::kHeldOut) {
    options.texture_share = 0;  // the question is about pictures it never saw
    seed = Random::mix(seed, 0xe7a1);
  }
  return std::make_unique<GeneratorSource>(
      std::make_shared<CameraStateGenerator>(options, load_backgrounds(backgrounds), seed), config,
      preprocess, batch_size, ramp_batches);
}

BatchLoader::BatchLoader(const BatchSource& source, int64_t first, int64_t end, int threads)
    : source_(source),
      wanted_(first),
      next_(first),
      end_(end),
      ahead_(static_cast<size_t>(threads) + 2) {
  try {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::exception& error) {
    stop();  // the threads that did start are joined now, and the destructor is not called
    throw Error(ErrorKind::kFailed, "thread " + std::to_string(threads_.size() + 1) + " of " +
                                        std::to_string(threads) +
                                        " that make batches cannot be started: " + error.what());
  }
}

BatchLoader::~BatchLoader() { stop(); }

void BatchLoader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

void BatchLoader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] {
      return stop_ || next_ >= end_ || next_ < wanted_ + static_cast<int64_t>(ahead_);
    });
    if (stop_ || next_ >= end_ || error_) return;
    const int64_t index = next_++;
    lock.unlock();
    Batch made;
    std::exception_ptr error;
    try {
      made = source_.batch(index);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error) error_ = error;
    ready_.emplace(index, std::move(made));
    changed_.notify_all();
  }
}

Batch BatchLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || ready_.contains(wanted_); });
  if (error_) std::rethrow_exception(error_);
  Batch out = std::move(ready_.at(wanted_));
  ready_.erase(wanted_++);
  changed_.notify_all();
  return out;
}

}  // namespace tome::train
