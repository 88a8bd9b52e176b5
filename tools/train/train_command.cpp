#include "train/train_command.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "dataset.h"
#include "error_line.h"
#include "excerpt.h"
#include "forward_settings.h"
#include "merging/partition_names.h"
#include "stop_signal.h"
#include "tome_error.h"
#include "train/folder_source.h"
#include "train/generator.h"
#include "train/mirrored_labels.h"
#include "train/start_model.h"
#include "train/train_options.h"
#include "train/trainer.h"
#include "vit/usable_cores.h"

namespace tome::cli {
namespace {

using namespace tome::train;

struct Sources {
  std::unique_ptr<BatchSource> train, eval;
  int64_t eval_batches = 0;
  int64_t epoch = 0;                  ///< samples of one; a generator has none
  std::vector<std::string> untaught;  ///< labels without a sample to train on
};

Sources generator_sources(const TrainArguments& a, const Checkpoint& checkpoint) {
  constexpr int64_t kEvalBatch = kCameraStates * 5;
  const GeneratorData data{a.generator, a.pictures, a.clips, a.options.seed};
  Sources sources;
  sources.train = make_generator_source(data, Part::kTrain, checkpoint.config,
                                        checkpoint.preprocess, a.batch, a.ramp);
  sources.eval = make_generator_source(data, Part::kHeldOut, checkpoint.config,
                                       checkpoint.preprocess, kEvalBatch, 0);
  sources.eval_batches = std::max<int64_t>(a.eval_clips / kEvalBatch, 1);
  return sources;
}

Sources folder_sources(const TrainArguments& a, const Checkpoint& checkpoint,
                       const std::shared_ptr<const Dataset>& dataset) {
  FolderOptions options;
  // Without splits every sample is for training, and nothing is left to evaluate on.
  const std::string eval_split = a.eval_split.value_or(dataset->held_out_split().value_or(""));
  options.folder = a.data;
  options.dataset = dataset;
  options.split = a.split.value_or(dataset->has_splits() ? "train" : "");
  options.flip = !a.no_flip;
  options.jitter = a.jitter;
  options.frame_stride = a.frame_stride;
  options.cache = std::make_shared<VideoCache>(a.cache_gb ? static_cast<size_t>(*a.cache_gb * 1e9)
                                                          : default_cache_bytes());
  Sources sources;
  auto train = std::make_unique<FolderSource>(options, checkpoint.labels, checkpoint.config,
                                              checkpoint.preprocess, a.batch, a.options.seed);
  sources.epoch = train->samples();
  sources.untaught = train->labels_without_sample();
  sources.train = std::move(train);
  if (!eval_split.empty()) {
    options.split = eval_split;
    options.augment = false;
    auto eval = std::make_unique<FolderSource>(options, checkpoint.labels, checkpoint.config,
                                               checkpoint.preprocess, a.batch, a.options.seed);
    sources.eval_batches = (eval->samples() + a.batch - 1) / a.batch;
    sources.eval = std::move(eval);
  }
  return sources;
}

/// What follows the first of some labels.
std::string and_more(const std::vector<std::string>& labels) {
  if (labels.size() == 1) return "";
  return " (and of " + std::to_string(labels.size() - 1) + " labels more)";
}

/// What may be meant otherwise, a line each.
void say_doubts(const TrainArguments& a, const Checkpoint& checkpoint, const Sources& sources) {
  if (a.options.steps > 0 && a.options.warmup_steps >= a.options.steps) {
    say("all " + std::to_string(a.options.steps) + " steps are of the warm-up (--warmup " +
        std::to_string(a.options.warmup_steps) + "), in which the learning rate only rises");
  }
  if (!sources.eval && !a.eval_split) {
    say("no split is held out, so nothing is evaluated");
  }
  if (!sources.untaught.empty()) {
    say("found no sample of '" + sources.untaught.front() + "'" + and_more(sources.untaught) +
        " to train on");
  }
  if (!a.generator.empty() || a.no_flip) return;
  const std::vector<std::string> alone = labels_without_partner(checkpoint.labels);
  if (alone.empty()) return;
  say("half of the samples of '" + alone.front() + "'" + and_more(alone) +
      " are mirrored and keep the label, for none is it with left and right swapped; "
      "--no-flip mirrors none");
}

void print_evaluation(const char* title, const EvalResult& result,
                      const std::vector<std::string>& labels) {
  std::printf("%s: top-1 %.4f, r", title, result.top1);
  for (const int64_t r : result.r) std::printf(" %lld", static_cast<long long>(r));
  std::printf("\n");
  if (labels.size() > 40) return;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::printf("  %-16s", labels[i].c_str());
    for (const int64_t count : result.confusion[i])
      std::printf("%5lld", static_cast<long long>(count));
    std::printf("\n");
  }
}

void report(const Checkpoint& checkpoint, const Sources& sources, const TrainOptions& options) {
  if (!sources.eval) return;
  const VisionTransformer model(checkpoint.config, checkpoint.weights, at::Device(options.device));
  ForwardOptions forward;
  forward.partition = options.partition;
  print_evaluation("r=0", evaluate(model, *sources.eval, sources.eval_batches, forward),
                   checkpoint.labels);
  forward.r = resolve_r(options.r, checkpoint.config);
  print_evaluation(("r=" + options.r).c_str(),
                   evaluate(model, *sources.eval, sources.eval_batches, forward),
                   checkpoint.labels);
}

std::optional<Partition> parse_partition(const std::string& name) {
  if (name == "auto") return std::nullopt;
  for (const Partition each :
       {Partition::kAlternating, Partition::kByFrame, Partition::kCheckerboard}) {
    if (name == name_of(each)) return each;
  }
  throw Error(ErrorKind::kSettings, "--partition '" + name +
                                        "' is not known; expected auto, alternating, "
                                        "by-frame, checkerboard or mixed");
}

/// The last part of a path, with or without a slash behind it.
std::string folder_name(const std::filesystem::path& path) {
  return (path / "").parent_path().filename().string();
}

/// What the options say together.
void settle(TrainArguments& a) {
  a.options.device = parse_device(a.options.device).str();
  if (a.name.empty()) a.name = folder_name(a.out);
  a.options.init = folder_name(a.init);
  for (const auto& [option, text] : {std::pair{"--name", a.name},
                                     {"--init", a.options.init},
                                     {"--split", a.split.value_or("")}}) {
    // It goes into a JSON file: now, and not when the training is done.
    if (!is_one_line(text)) {
      throw Error(ErrorKind::kSettings,
                  std::string(option) + ": not UTF-8 text, or with control characters");
    }
  }
  std::error_code missing;  // then loading --init says so
  if (std::filesystem::equivalent(a.init, a.out, missing)) {
    throw Error(ErrorKind::kSettings,
                "--out: found the folder of --init, expected another: the result would take the "
                "place of what it started from");
  }
  a.options.bf16 = a.precision == "bf16";
  a.options.mixed_partitions = a.partition == "mixed";
  if (!a.options.mixed_partitions) a.options.partition = parse_partition(a.partition);
  a.options.optimizer.ema = a.ema;
  a.options.optimizer.weight_decay = a.weight_decay;
}

/// Returns the step reached. A signal ends the process, when the state is saved.
int64_t train_or_stop(Trainer& trainer, const Sources& sources, const StopSignal& stop,
                      int64_t steps) {
  const int64_t reached = trainer.run(*sources.train, sources.eval.get(), sources.eval_batches);
  if (reached < steps) {
    say("stopped after step " + std::to_string(reached) + " of " + std::to_string(steps) +
        "; the same command goes on from there");
    stop.end_process();
  }
  return reached;
}

void run_train(TrainArguments a) {
  settle(a);
  at::set_num_threads(a.threads > 0 ? a.threads : std::min(at::get_num_threads(), usable_cores()));
  cv::setNumThreads(1);  // the loader's threads are the parallelism

  std::shared_ptr<const Dataset> dataset;
  if (a.generator.empty()) dataset = std::make_shared<Dataset>(a.data);
  const std::vector<std::string> labels = dataset ? dataset->label_names() : camera_state_labels();
  if (labels.size() < 2) {
    throw Error(ErrorKind::kFormat, a.data + ": found one class, '" + excerpt(labels.front()) +
                                        "', expected two at least to tell apart");
  }
  if (!a.init.empty()) {
    a.options.init_hash = weights_hash(a.init);
    a.options.init_config_hash = config_hash(a.init);
  }
  const Checkpoint checkpoint = start_model(a, labels);
  const Sources sources =
      dataset ? folder_sources(a, checkpoint, dataset) : generator_sources(a, checkpoint);
  if (a.epochs > 0) a.options.steps = (a.epochs * sources.epoch + a.batch - 1) / a.batch;
  a.options.on_start = [&] { say_doubts(a, checkpoint, sources); };
  std::optional<StopSignal> stop(std::in_place);
  a.options.should_stop = [&] { return stop->received(); };
  Trainer trainer(checkpoint, a.options, a.out);
  const int64_t reached = train_or_stop(trainer, sources, *stop, a.options.steps);
  stop.reset();  // what follows loses nothing by Ctrl-C
  if (reached > a.options.steps) {
    say("'" + a.out + "' was trained for " + std::to_string(reached) + " steps before, more than " +
        std::to_string(a.options.steps) + ": nothing is left to train");
  }
  save_checkpoint(trainer.result(), a.out, a.dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  if (const int64_t skipped = trainer.skipped_steps(); skipped > 0) {
    say(std::to_string(skipped) + " of " + std::to_string(reached) +
        " steps were skipped, for their gradient was not finite; a lower --lr may help");
  }
  std::printf("%lld steps; the model is in %s\n", static_cast<long long>(reached),
              printable(a.out).c_str());
  report(load_checkpoint(a.out), sources, a.options);  // what was saved, not what was meant
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* train = app.add_subcommand("train", "Train or fine-tune a model, with merging on");
  const auto a = std::make_shared<TrainArguments>();
  add_train_options(*train, *a);
  train->callback([a, train] {
    check_train_options(*train, *a);
    run_train(*a);
  });
}

}  // namespace tome::cli
