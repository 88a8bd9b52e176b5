#include "eval_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "error_line.h"
#include "media_reader.h"
#include "tome_error.h"
#include "train/batch.h"
#include "train/camera_state.h"

namespace tome::cli {
namespace {

/// Whether a sample has frames of its own. What cannot be read has none, and is named when its turn
/// comes.
bool is_video(const Sample& sample) {
  try {
    if (is_picture(sample.file)) return false;
    return for_each_frame(sample.file, [](const Frame&, int64_t, double) { return false; }) > 0;
  } catch (const Error& error) {
    if (is_of_file(error.kind())) return false;
    throw;
  }
}

class FolderEvalSource : public EvalSource {
 public:
  FolderEvalSource(std::vector<Sample> samples, SamplePlan plan, const Checkpoint& checkpoint,
                   int threads)
      : samples_(std::move(samples)), plan_(plan), checkpoint_(checkpoint), threads_(threads) {
    // A picture has one window; beside videos it fills all of theirs.
    if (std::none_of(samples_.begin(), samples_.end(), is_video)) plan_.windows = 1;
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t windows() const override { return plan_.windows; }
  int64_t class_index(int64_t sample) const override {
    return samples_[static_cast<size_t>(sample)].class_index;
  }
  std::string file(int64_t sample) const override {
    return samples_[static_cast<size_t>(sample)].file.string();
  }
  SampleRows load(int64_t begin, int64_t end) override {
    return load_samples({samples_.begin() + begin, samples_.begin() + end}, checkpoint_, plan_,
                        threads_);
  }

 private:
  std::vector<Sample> samples_;
  SamplePlan plan_;
  const Checkpoint& checkpoint_;
  int threads_;
};

class GeneratedEvalSource : public EvalSource {
 public:
  GeneratedEvalSource(std::unique_ptr<train::GeneratorSource> source, int64_t count)
      : source_(std::move(source)), count_(count) {}

  int64_t size() const override { return count_; }
  int64_t class_index(int64_t sample) const override { return sample % train::kCameraStates; }
  std::string file(int64_t) const override { return {}; }
  SampleRows load(int64_t begin, int64_t end) override {
    SampleRows rows{source_->clips(begin, end).patches, {}, {}};
    for (int64_t i = 0; i < end - begin; ++i) rows.read.push_back(i);
    return rows;
  }

 private:
  std::unique_ptr<train::GeneratorSource> source_;
  int64_t count_;
};

}  // namespace

std::unique_ptr<EvalSource> folder_eval_source(const Dataset& dataset, const std::string& split,
                                               int64_t limit, SamplePlan plan,
                                               const Checkpoint& checkpoint, int threads) {
  return std::make_unique<FolderEvalSource>(dataset.samples(checkpoint.labels, split, limit), plan,
                                            checkpoint, threads);
}

std::unique_ptr<EvalSource> generated_eval_source(const GeneratedClips& clips, int64_t count,
                                                  const Checkpoint& checkpoint) {
  if (checkpoint.labels != train::camera_state_labels()) {
    throw Error(ErrorKind::kSettings, "--generator " + clips.generator + ": '" +
                                          checkpoint.config.name +
                                          "' has other classes than the generator's states");
  }
  return std::make_unique<GeneratedEvalSource>(
      train::make_generator_source({clips.generator, clips.pictures, clips.clips, clips.seed},
                                   train::Part::kHeldOut, checkpoint.config, checkpoint.preprocess,
                                   1, 0),
      count);
}

}  // namespace tome::cli
