// The training loop.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "train/batch.h"
#include "train/optimizer.h"
#include "train/train_log.h"
#include "vit/model.h"

namespace tome::train {

struct TrainOptions {
  int64_t steps = 1000;
  double learning_rate = 1e-3;
  double final_share = 0.01;  ///< of the learning rate at the end of the cosine
  int64_t warmup_steps = 100;
  double label_smoothing = 0.05;
  double drop_path = 0;
  double layer_decay = 1;         ///< of the learning rate, from each layer to the one before it
  double mixup = 0;               ///< alpha of the Beta distribution of shares; 0: off
  double motion_loss = 0;         ///< weight of the auxiliary loss, see Note [Motion as a teacher]
  std::string r = "0";            ///< schedule to train with
  double unmerged_share = 0;      ///< of the steps run at r = 0
  bool mixed_partitions = false;  ///< another way to split tokens in every step
  std::optional<Partition> partition;  ///< unset: the model's default
  bool bf16 = false;                   ///< autocast
  std::string device = "cpu";          ///< as at::Device reads it
  uint64_t seed = 1;
  std::string init;       ///< name of the model that the weights came from; empty: fresh ones
  std::string init_hash;  ///< of its weights, see file_hash()
  std::string init_config_hash;  ///< of its config.json and pre-processing
  OptimizerOptions optimizer;
  int64_t save_every = 200, eval_every = 1000, log_every = 20;
  int loader_threads = 1;
  /// Threads that each take a part of every batch. One sum of gradients per step is all they wait
  /// for, where the threads of one matrix product wait for each other in every layer: on a machine
  /// that others use too, that is the difference.
  int workers = 1;
  bool progress = true;  ///< a bar on stderr if that is a terminal
  /// Called once, when nothing of the state or the settings stands in the way of the first step.
  std::function<void()> on_start;
  /// Asked after each step: true saves the state and ends the run.
  std::function<bool()> should_stop;
  /// Stops after this many steps of this run, as a kill would; 0: never. For tests.
  int64_t stop_after = 0;
};

struct EvalResult {
  double top1 = 0;
  std::vector<int64_t> r;
  std::vector<std::vector<int64_t>> confusion;  ///< [true class][answer]
};

/// So many steps in a row without a finite loss and gradient, and there is nothing to hope for.
constexpr int64_t kMostLostSteps = 50;

/// Learning rate at a step: linear warm-up, then a cosine down to final_share.
double learning_rate_at(int64_t step, const TrainOptions& options);

/// What r asks of each block of this model.
/// @throws Error kSettings as cli::asked_r
std::vector<int64_t> resolve_r(const std::string& spec, const ViTConfig& config);

/// Top-1 and confusion of a model over batches 0 .. batches - 1 of a source.
EvalResult evaluate(const VisionTransformer& model, const BatchSource& source, int64_t batches,
                    const ForwardOptions& options);

/// Trains a checkpoint's weights in `folder`, which will hold: state.safetensors (from which a
/// killed run goes on), log.jsonl and log.png, and the result in Hugging Face layout (averaged
/// weights). Batches are numbered by step, so a run that was killed and goes on equals one that was
/// not. All that changes its result must be the same then, but for the number of steps.
class Trainer {
 public:
  Trainer(Checkpoint checkpoint, TrainOptions options, std::filesystem::path folder);

  /// @param eval  may be null
  /// Returns the step reached: options.steps, or fewer if it was to stop.
  /// @throws Error kSettings naming what differs from the run whose state is in the folder, kFormat
  ///   if that state is of no use (then nothing was written), kFailed if loss or gradient were not
  ///   finite for kMostLostSteps steps one after another
  int64_t run(const BatchSource& source, const BatchSource* eval, int64_t eval_batches);

  /// The checkpoint with averaged weights.
  Checkpoint result() const;

  /// Steps so far, of earlier runs too, whose gradient was not finite and which changed nothing.
  int64_t skipped_steps() const { return reached_ - optimizer_->steps(); }

 private:
  struct StepResult {
    double loss = 0, motion = 0, accuracy = 0;  // weighted by the share of the batch
    std::vector<at::Tensor> gradients;
  };
  StepResult part_step(const Batch& batch, int64_t step, int64_t begin, int64_t end) const;
  StepResult train_step(Batch batch, int64_t step);
  at::Tensor motion_loss(const Batch& batch, const ForwardOutput& output) const;
  void log_evaluation(TrainLog& log, int64_t step, const BatchSource& eval, int64_t batches) const;
  void save(int64_t step, const RunSettings& settings) const;
  int64_t resume(const RunSettings& settings);
  RunSettings settings(const BatchSource& source) const;
  void watch_divergence(const TrainRecord& record);

  Checkpoint checkpoint_;
  TrainOptions options_;
  std::filesystem::path folder_;
  VisionTransformer model_;
  ViTWeights motion_head_;  // only `norm` and `head` are set
  std::vector<at::Tensor> leaves_;
  std::vector<int64_t> r_;
  std::unique_ptr<Optimizer> optimizer_;
  int64_t reached_ = 0;  // steps done, skipped ones among them
  int64_t lost_ = 0;     // steps whose loss or gradient is not finite, the last ones in a row
};

}  // namespace tome::train
