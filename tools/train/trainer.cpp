#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>
#include <thread>

#include "media/colour.h"
#include "schedule_option.h"
#include "tome_error.h"
#include "vit/token_geometry.h"

namespace tome::train {
namespace {

// Note [Motion as a teacher]
// The generator knows how far the camera moved the content under every token. A small head, thrown
// away after training, has to tell from each token of the last block
//   0, 1   the motion at its place, right and down;
//   2 - 5  the camera's motion as a whole at its time: right, down, outwards, clockwise;
//   6      how much its pixels change from frame to frame, which tells noise from repeats;
//   7      how sharp they are.
// A merged token answers for the mean of its sources. That is hundreds of targets per clip in place
// of one label, and it brings zooms and roll, which are made of motions that differ from place to
// place, and the noise of a living sensor within reach of a short training. Motions, in pixels per
// frame, are compressed by asinh(2 x): a tenth of a pixel matters at slow speeds, not at fast ones.
constexpr int64_t kTaught = 8;
constexpr int64_t kTaughtMotions = 6;

/// Motion of each cell and of the whole view: [B, cells, 2] to [B, cells, 6].
at::Tensor motion_targets(const at::Tensor& motion, const ViTConfig& config) {
  const int64_t batch = motion.size(0);
  const int64_t rows = config.grid_rows();
  const int64_t cols = config.grid_cols();
  const at::Tensor field = motion.view({batch, config.grid_frames(), rows * cols, 2});
  const auto centres = [](int64_t count) {
    return (at::arange(count, at::kFloat) + 0.5) / static_cast<double>(count) * 2 - 1;
  };
  const at::Tensor y = centres(rows).view({rows, 1}).expand({rows, cols}).reshape({-1});
  const at::Tensor x = centres(cols).view({1, cols}).expand({rows, cols}).reshape({-1});
  const at::Tensor u = field.select(3, 0);
  const at::Tensor v = field.select(3, 1);
  const double spread = (x * x + y * y).mean().item<double>();
  const at::Tensor outwards = (u * x + v * y).mean(2, true) / spread;
  const at::Tensor clockwise = (v * x - u * y).mean(2, true) / spread;
  const at::Tensor whole = at::stack({u.mean(2, true), v.mean(2, true), outwards, clockwise}, 3)
                               .expand({-1, -1, rows * cols, -1});
  return at::asinh(2 * at::cat({field, whole}, 3)).reshape({batch, -1, kTaughtMotions});
}

/// Change over time and sharpness of each tubelet, logarithms of grey levels: [B, cells, 2].
at::Tensor pixel_targets(const at::Tensor& patches, const ViTConfig& config,
                         const PreprocessSpec& preprocess) {
  const int64_t p = config.patch;
  const int64_t t = config.tubelet;
  at::Tensor levels = at::empty({config.channels, 1, 1});  // of one unit of normalised input
  const Normalisation normalisation = normalisation_of(preprocess);
  for (int64_t c = 0; c < config.channels; ++c) {
    levels[c] = 1 / normalisation.scale[static_cast<size_t>(c)];
  }
  const at::Tensor pixels = levels * patches.view({patches.size(0), config.grid_frames(), t,
                                                   patches.size(2), config.channels, p, p});
  const at::Tensor across = pixels.narrow(6, 1, p - 1) - pixels.narrow(6, 0, p - 1);
  const at::Tensor sharp = across.square().mean({2, 4, 5, 6}).sqrt();
  at::Tensor change = at::zeros_like(sharp);
  if (t > 1) {
    const at::Tensor step = pixels.narrow(2, 1, t - 1) - pixels.narrow(2, 0, t - 1);
    change = step.square().mean({2, 4, 5, 6}).sqrt();
  }
  const at::Tensor targets = 0.5 * at::stack({at::log(change + 0.05), at::log(sharp + 0.5)}, 3);
  return targets.reshape({patches.size(0), -1, 2});
}

/// Autocast for as long as it lives.
class AutocastGuard {
 public:
  explicit AutocastGuard(bool on, at::DeviceType device) : on_(on), device_(device) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::set_autocast_enabled(device_, true);
  }
  ~AutocastGuard() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(device_, false);
    at::autocast::clear_cache();
  }
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  bool on_;
  at::DeviceType device_;
};

std::optional<Partition> draw_partition(const TrainOptions& options, int64_t step) {
  if (!options.mixed_partitions) return options.partition;
  static constexpr Partition kAll[] = {Partition::kAlternating, Partition::kByFrame,
                                       Partition::kCheckerboard};
  return kAll[Random(Random::mix(options.seed, static_cast<uint64_t>(step), 0x9a)).index(3)];
}

bool draw_unmerged(const TrainOptions& options, int64_t step) {
  return Random(Random::mix(options.seed, static_cast<uint64_t>(step), 0x9b))
      .chance(options.unmerged_share);
}

/// Mixes every sample with another of the batch in one random proportion (mixup, Zhang et al.
/// 2018).
Batch mix_samples(Batch batch, double alpha, Random random) {
  double a = 2;
  double b = 2;
  while (a + b > 1) {  // Johnk's way to Beta(alpha, alpha)
    a = std::pow(random.unit(), 1 / alpha);
    b = std::pow(random.unit(), 1 / alpha);
  }
  if (a + b <= 0) (random.chance(0.5) ? a : b) = 1;  // so small an alpha: one or the other
  batch.share = a / (a + b);
  batch.others = batch.labels.flip(0);
  batch.patches = batch.patches * batch.share + batch.patches.flip(0) * (1 - batch.share);
  return batch;
}

/// Restores the number of LibTorch's threads, which is one for the whole process.
class ThreadsGuard {
 public:
  ThreadsGuard() = default;
  ~ThreadsGuard() { at::set_num_threads(before_); }
  ThreadsGuard(const ThreadsGuard&) = delete;
  ThreadsGuard& operator=(const ThreadsGuard&) = delete;

 private:
  int before_ = at::get_num_threads();
};

/// Cross entropy of a part [begin, end) of a batch, mixed or not.
at::Tensor label_loss(const at::Tensor& logits, const Batch& batch, int64_t begin,
                      double smoothing) {
  const auto loss = [&](const at::Tensor& labels) {
    return at::cross_entropy_loss(logits,
                                  labels.narrow(0, begin, logits.size(0)).to(logits.device()), {},
                                  at::Reduction::Mean, -100, smoothing);
  };
  if (!batch.others.defined()) return loss(batch.labels);
  return batch.share * loss(batch.labels) + (1 - batch.share) * loss(batch.others);
}

}  // namespace

double learning_rate_at(int64_t step, const TrainOptions& options) {
  if (step < options.warmup_steps) {
    return options.learning_rate * static_cast<double>(step + 1) /
           static_cast<double>(options.warmup_steps);
  }
  const double done =
      static_cast<double>(step - options.warmup_steps) /
      static_cast<double>(std::max<int64_t>(options.steps - options.warmup_steps, 1));
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(done, 1.0)));
  return options.learning_rate * (options.final_share + (1 - options.final_share) * cosine);
}

std::vector<int64_t> resolve_r(const std::string& spec, const ViTConfig& config) {
  return cli::asked_r(spec, token_geometry(config, config.frames));
}

EvalResult evaluate(const VisionTransformer& model, const BatchSource& source, int64_t batches,
                    const ForwardOptions& options) {
  const at::NoGradGuard no_grad;
  const auto classes = static_cast<size_t>(model.config().classes);
  EvalResult result;
  result.confusion.assign(classes, std::vector<int64_t>(classes, 0));
  BatchLoader loader(source, 0, batches, 1);
  int64_t right = 0;
  int64_t seen = 0;
  for (int64_t i = 0; i < batches; ++i) {
    const Batch batch = loader.next();
    const ForwardOutput output = model.forward(batch.patches, options);
    result.r = output.r;
    const at::Tensor answer = output.logits.argmax(1).to(at::kCPU);
    for (int64_t k = 0; k < answer.numel(); ++k) {
      const auto truth = batch.labels[k].item<int64_t>();
      const auto said = answer[k].item<int64_t>();
      ++result.confusion[static_cast<size_t>(truth)][static_cast<size_t>(said)];
      right += truth == said ? 1 : 0;
      ++seen;
    }
  }
  result.top1 = seen > 0 ? static_cast<double>(right) / static_cast<double>(seen) : 0;
  return result;
}

Trainer::Trainer(Checkpoint checkpoint, TrainOptions options, std::filesystem::path folder)
    : checkpoint_(std::move(checkpoint)),
      options_(std::move(options)),
      folder_(std::move(folder)),
      model_(checkpoint_.config, checkpoint_.weights, at::Device(options_.device), at::kFloat),
      r_(resolve_r(options_.r, checkpoint_.config)) {
  const int64_t dim = checkpoint_.config.dim;
  std::vector<Parameter> parameters = list_parameters(model_.weights());
  decay_rates_by_layer(parameters, checkpoint_.config.depth, options_.layer_decay);
  if (options_.motion_loss > 0) {
    const auto on = at::TensorOptions(model_.device()).dtype(at::kFloat);
    motion_head_.norm = {at::ones({dim}, on), at::zeros({dim}, on)};
    motion_head_.head = {at::zeros({kTaught, dim}, on), at::zeros({kTaught}, on)};
    for (Parameter& parameter : list_parameters(motion_head_)) {
      parameter.name = "motion." + parameter.name;
      parameters.push_back(parameter);
    }
  }
  for (Parameter& parameter : parameters) parameter.tensor.requires_grad_(true);
  for (const Parameter& parameter : parameters) leaves_.push_back(parameter.tensor);
  optimizer_ = std::make_unique<Optimizer>(parameters, options_.optimizer);
}

at::Tensor Trainer::motion_loss(const Batch& batch, const ForwardOutput& output) const {
  const at::Device device = model_.device();
  const int64_t prefix = checkpoint_.config.prefix_tokens();
  const at::Tensor tokens = output.trace.back().x;
  const int64_t dim = tokens.size(2);
  const at::Tensor said =
      at::linear(at::layer_norm(tokens, {dim}, motion_head_.norm.weight, motion_head_.norm.bias),
                 motion_head_.head.weight, motion_head_.head.bias)
          .to(at::kFloat);
  // The mean of the sources' targets, and how many they are.
  const at::Tensor target =
      at::cat({motion_targets(batch.motion, checkpoint_.config),
               pixel_targets(batch.patches, checkpoint_.config, checkpoint_.preprocess)},
              2)
          .to(device);
  const at::Tensor source = output.source.narrow(1, prefix, output.source.size(1) - prefix);
  const at::Tensor count = at::zeros({said.size(0), said.size(1)}, target.options())
                               .scatter_add(1, source, at::ones(source.sizes(), target.options()));
  const at::Tensor sum = at::zeros(said.sizes(), target.options())
                             .scatter_add(1, source.unsqueeze(-1).expand_as(target), target);
  const at::Tensor mean = sum / count.clamp_min(1).unsqueeze(-1);
  const at::Tensor error = at::smooth_l1_loss(said, mean, at::Reduction::None, 0.5);
  const at::Tensor seen = count * batch.motion_weight.to(device).unsqueeze(1);
  const at::Tensor motions = (error.narrow(2, 0, kTaughtMotions).sum(2) * seen).sum();
  const at::Tensor pixels =
      error.narrow(2, kTaughtMotions, kTaught - kTaughtMotions).sum(2) * count;
  return motions / seen.sum().clamp_min(1) + pixels.sum() / count.sum().clamp_min(1);
}

Trainer::StepResult Trainer::part_step(const Batch& batch, int64_t step, int64_t begin,
                                       int64_t end) const {
  ForwardOptions forward;
  if (!draw_unmerged(options_, step)) forward.r = r_;
  forward.partition = draw_partition(options_, step);
  forward.drop_path = options_.drop_path;
  // Parts run side by side, each with random numbers of its own.
  forward.seed =
      Random::mix(options_.seed, static_cast<uint64_t>(step), static_cast<uint64_t>(begin));
  const bool teach = options_.motion_loss > 0 && batch.motion.defined();
  forward.track_source = teach;
  forward.trace = teach;

  const int64_t size = end - begin;
  const double share = static_cast<double>(size) / static_cast<double>(batch.labels.size(0));
  const at::Tensor labels = batch.labels.narrow(0, begin, size).to(model_.device());
  StepResult result;
  at::Tensor loss;
  {
    const AutocastGuard autocast(options_.bf16, model_.device().type());
    const ForwardOutput output = model_.forward(batch.patches.narrow(0, begin, size), forward);
    loss = label_loss(output.logits, batch, begin, options_.label_smoothing);
    const at::Tensor right = output.logits.detach().argmax(1).eq(labels);
    result.accuracy = share * right.to(at::kFloat).mean().item<double>();
    if (teach) {
      Batch part;
      part.patches = batch.patches.narrow(0, begin, size);
      part.motion = batch.motion.narrow(0, begin, size);
      part.motion_weight = batch.motion_weight.narrow(0, begin, size);
      const at::Tensor taught = motion_loss(part, output);
      result.motion = share * taught.item<double>();
      loss = loss + options_.motion_loss * taught;
    }
    loss = loss * share;
  }
  result.loss = loss.item<double>();
  result.gradients = torch::autograd::grad({loss}, leaves_, {}, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  return result;
}

Trainer::StepResult Trainer::train_step(Batch batch, int64_t step) {
  if (options_.mixup > 0) {
    batch = mix_samples(std::move(batch), options_.mixup,
                        Random(Random::mix(options_.seed, static_cast<uint64_t>(step), 0x313)));
  }
  const int64_t size = batch.labels.size(0);
  const int64_t workers = std::clamp<int64_t>(options_.workers, 1, size);
  std::vector<StepResult> parts(static_cast<size_t>(workers));
  std::exception_ptr error;
  std::mutex error_mutex;
  const auto work = [&](int64_t worker) {
    try {
      if (workers > 1) at::set_num_threads(1);
      parts[static_cast<size_t>(worker)] =
          part_step(batch, step, size * worker / workers, size * (worker + 1) / workers);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      error = std::current_exception();
    }
  };
  {
    const ThreadsGuard restored;
    std::vector<std::jthread> threads;
    for (int64_t worker = 1; worker < workers; ++worker) threads.emplace_back(work, worker);
    work(0);
  }
  if (error) std::rethrow_exception(error);
  // Summed in the order of the workers, so that a run repeats bit for bit.
  StepResult sum = std::move(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) {
    sum.loss += parts[i].loss;
    sum.motion += parts[i].motion;
    sum.accuracy += parts[i].accuracy;
    for (size_t k = 0; k < sum.gradients.size(); ++k) {
      if (parts[i].gradients[k].defined()) sum.gradients[k].add_(parts[i].gradients[k]);
    }
  }
  for (size_t k = 0; k < leaves_.size(); ++k) leaves_[k].mutable_grad() = sum.gradients[k];
  return sum;
}

Checkpoint Trainer::result() const {
  Checkpoint out = checkpoint_;
  const std::map<std::string, at::Tensor> averages = optimizer_->averages();
  replace_parameters(out.weights, [&](at::Tensor& tensor, const std::string& name) {
    tensor = averages.at(name).to(at::kCPU).clone();
  });
  out.default_schedule = options_.r;
  return out;
}

void Trainer::log_evaluation(TrainLog& log, int64_t step, const BatchSource& eval,
                             int64_t batches) const {
  const Checkpoint averaged = result();
  const VisionTransformer model(averaged.config, averaged.weights, model_.device());
  ForwardOptions merged;
  merged.r = r_;
  merged.partition = options_.partition;
  log.evaluation(step, evaluate(model, eval, batches, {}).top1,
                 evaluate(model, eval, batches, merged).top1);
}

void Trainer::watch_divergence(const TrainRecord& record) {
  lost_ = std::isfinite(record.loss) && std::isfinite(record.gradient) ? 0 : lost_ + 1;
  if (lost_ < kMostLostSteps) return;
  throw Error(ErrorKind::kFailed,
              "the training diverged: found no finite loss and gradient in the last " +
                  std::to_string(lost_) + " steps, up to step " + std::to_string(reached_) +
                  "; most likely the learning rate is too high, expected less than --lr " +
                  exact(options_.learning_rate));
}

int64_t Trainer::run(const BatchSource& source, const BatchSource* eval, int64_t eval_batches) {
  std::filesystem::create_directories(folder_);
  const RunSettings settings = this->settings(source);
  const int64_t first = reached_ = resume(settings);
  TrainLog log(folder_ / "log.jsonl", options_.steps, first, options_.progress);
  if (options_.on_start) options_.on_start();
  BatchLoader loader(source, first, options_.steps, options_.loader_threads);
  while (reached_ < options_.steps) {
    const StepResult done = train_step(loader.next(), reached_);
    TrainRecord record{done.loss, done.motion, done.accuracy, learning_rate_at(reached_, options_)};
    record.gradient = optimizer_->step(record.learning_rate);
    ++reached_;
    record.skipped = skipped_steps();
    const bool last = reached_ == options_.steps;
    log.add(reached_, record, last || reached_ % options_.log_every == 0);
    watch_divergence(record);
    const bool stop = !last && options_.should_stop && options_.should_stop();
    if (last || stop || reached_ % options_.save_every == 0) save(reached_, settings);
    if (eval != nullptr && (last || reached_ % options_.eval_every == 0)) {
      log_evaluation(log, reached_, *eval, eval_batches);
      if (!last) log.draw(checkpoint_.config.name);
    }
    if (stop) break;
    if (options_.stop_after > 0 && reached_ - first >= options_.stop_after) break;
  }
  log.draw(checkpoint_.config.name);
  return reached_;
}

}  // namespace tome::train
