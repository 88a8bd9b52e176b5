#include "eval_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "tome_error.h"
#include "train/batch.h"
#include "train/camera_state.h"

namespace tome::cli {
namespace {

class FolderEvalSource : public EvalSource {
 public:
  FolderEvalSource(std::vector<Sample> samples, SamplePlan plan, const Checkpoint& checkpoint,
                   int threads)
      : samples_(std::move(samples)), plan_(plan), checkpoint_(checkpoint), threads_(threads) {
    // A picture has one window; beside videos it fills all of theirs.
    const auto is_one = [](const Sample& sample) { return is_picture(sample); };
    if (std::all_of(samples_.begin(), samples_.end(), is_one)) plan_.windows = 1;
  }

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  int64_t windows() const override { return plan_.windows; }
  int64_t class_index(int64_t sample) const override {
    return samples_[static_cast<size_t>(sample)].class_index;
  }
  at::Tensor load(int64_t begin, int64_t end) override {
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
  at::Tensor load(int64_t begin, int64_t end) override {
    return source_->clips(begin, end).patches;
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
