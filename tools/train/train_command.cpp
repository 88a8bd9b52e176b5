#include "train/train_command.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/excerpt.h"
#include "checkpoint/model_spec.h"
#include "dataset.h"
#include "folder_entries.h"
#include "forward_settings.h"
#include "stop_signal.h"
#include "tome_error.h"
#include "train/folder_source.h"
#include "train/generator.h"
#include "train/hash.h"
#include "train/mirrored_labels.h"
#include "train/parameters.h"
#include "train/train_options.h"
#include "train/trainer.h"

namespace tome::cli {
namespace {

using namespace tome::train;

struct Sources {
  std::unique_ptr<BatchSource> train, eval;
  int64_t eval_batches = 0;
  int64_t epoch = 0;                  ///< samples of one; a generator has none
  std::vector<std::string> untaught;  ///< labels without a sample to train on
};

/// What could not be trained, or not be read back afterwards, in the words of the options.
void check_shape(const ViTConfig& c) {
  const auto need = [](bool good, const std::string& what) {
    if (!good) throw Error(ErrorKind::kSettings, what);
  };
  need(c.frames % c.tubelet == 0, "--frames " + std::to_string(c.frames) +
                                      " does not divide by --tubelet " + std::to_string(c.tubelet));
  need(c.image_height % c.patch == 0, "--size " + std::to_string(c.image_height) +
                                          " does not divide by --patch " + std::to_string(c.patch));
  need(c.dim % c.heads == 0,
       "--dim " + std::to_string(c.dim) + " does not divide by --heads " + std::to_string(c.heads));
  check_geometry(c, "the model asked for");
}

/// A fresh architecture: no class token, mean of the tokens, a norm on it; tokens count by size.
Checkpoint make_checkpoint(const TrainArguments& a, std::vector<std::string> labels) {
  Checkpoint out;
  ViTConfig& c = out.config;
  c.name = a.name;
  c.image_height = c.image_width = a.size > 0 ? a.size : 96;
  c.patch = a.patch;
  c.frames = a.frames > 0 ? a.frames : 8;
  c.tubelet = a.tubelet > 0 ? a.tubelet : (c.frames > 1 ? 2 : 1);
  c.dim = a.dim;
  c.depth = a.depth;
  c.heads = a.heads;
  c.mlp_hidden = a.dim * a.mlp;
  c.classes = static_cast<int64_t>(labels.size());
  c.class_token = a.class_token;
  c.pooling = a.class_token ? Pooling::kToken : Pooling::kMean;
  c.final_norm = a.class_token;
  c.fc_norm = !a.class_token;
  c.prop_attn_auto = true;
  check_shape(c);
  out.preprocess.width = out.preprocess.height = out.preprocess.resize_short =
      static_cast<int32_t>(c.image_height);
  out.preprocess.crop_mode = CropMode::kSquash;
  out.preprocess.interpolation = Interpolation::kBilinear;
  out.labels = std::move(labels);
  out.weights = make_weights(c, a.options.seed);
  return out;
}

/// The same model input from the whole picture, squeezed into shape, where it was cut from the
/// centre.
PreprocessSpec whole_frame(PreprocessSpec spec) {
  spec.crop_mode = CropMode::kSquash;
  spec.scale_width = spec.scale_height = 0;
  return spec;
}

/// A folder's labels come sorted. Where the model has the same ones, its order of them and with it
/// its head stay; a generator's classes are numbers, and have one order.
std::vector<std::string> in_order_of(const std::vector<std::string>& model,
                                     std::vector<std::string> labels) {
  std::vector<std::string> sorted = model;
  std::sort(sorted.begin(), sorted.end());
  std::sort(labels.begin(), labels.end());
  return sorted == labels ? model : labels;
}

/// Starts from a model: the same shape, or an image model inflated to clips.
Checkpoint start_from(const TrainArguments& a, std::vector<std::string> labels) {
  LoadOptions load;
  if (a.size > 0) load.image_height = load.image_width = a.size;
  Checkpoint out = load_checkpoint(a.init, load);
  if (a.generator.empty()) labels = in_order_of(out.labels, std::move(labels));
  ViTConfig clip = out.config;
  clip.name = a.name;
  clip.classes = static_cast<int64_t>(labels.size());
  const bool image = out.config.frames == 1;
  if (a.tubelet > 0 && !(image && a.frames > 0)) {
    throw Error(ErrorKind::kSettings,
                "--tubelet: found with --init '" + a.init + "' of " +
                    std::to_string(out.config.frames) + " frame(s), expected " +
                    (image ? "--frames too, for an image model to be inflated to"
                           : "none: a clip model's tubelets stay as they are, " +
                                 std::to_string(out.config.tubelet) + " frame(s) each"));
  }
  if (a.frames > 0 && image) {
    clip.frames = a.frames;
    clip.tubelet = a.tubelet > 0 ? a.tubelet : (a.frames % 2 == 0 ? 2 : 1);
    clip.family = "vit";
  } else if (a.frames > 0) {
    clip.frames = a.frames;
  }
  check_shape(clip);
  if (a.whole_frame) out.preprocess = whole_frame(out.preprocess);
  if (clip.frames != out.config.frames) {
    out.weights = inflate(out.config, out.weights, clip, a.options.seed);
  }
  if (labels != out.labels) {
    std::cerr << "tome: a new head for " << labels.size() << " classes: '" << a.init << "' has "
              << out.labels.size() << " with other names\n";
    out.weights.head = make_weights(clip, a.options.seed).head;
    out.weights.head_dist = {};
    clip.distilled_head = false;
  }
  out.config = clip;
  out.labels = std::move(labels);
  return out;
}

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
    std::cerr << "tome: all " << a.options.steps << " steps are of the warm-up (--warmup "
              << a.options.warmup_steps << "), in which the learning rate only rises\n";
  }
  if (!sources.eval && !a.eval_split) {
    std::cerr << "tome: no split is held out, so nothing is evaluated\n";
  }
  if (!sources.untaught.empty()) {
    std::cerr << "tome: found no sample of '" << sources.untaught.front() << "'"
              << and_more(sources.untaught) << " to train on\n";
  }
  if (!a.generator.empty() || a.no_flip) return;
  const std::vector<std::string> alone = labels_without_partner(checkpoint.labels);
  if (alone.empty()) return;
  std::cerr << "tome: half of the samples of '" << alone.front() << "'" << and_more(alone)
            << " are mirrored and keep the label, for none is it with left and right swapped; "
               "--no-flip mirrors none\n";
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
  if (name == "alternating") return Partition::kAlternating;
  if (name == "by-frame") return Partition::kByFrame;
  if (name == "checkerboard") return Partition::kCheckerboard;
  throw Error(ErrorKind::kSettings, "--partition '" + name +
                                        "' is not known; expected auto, alternating, "
                                        "by-frame, checkerboard or mixed");
}

/// The last part of a path, with or without a slash behind it.
std::string folder_name(const std::filesystem::path& path) {
  return (path / "").parent_path().filename().string();
}

/// Of the weights in a model folder, be they in one file or in several.
std::string weights_hash(const std::filesystem::path& folder) {
  std::error_code missing;  // loading says so
  const std::filesystem::path one = folder / "model.safetensors";
  if (std::filesystem::exists(one, missing)) return file_hash(one);
  Hash hash;
  for (const std::filesystem::path& file : visible_entries(folder)) {
    if (file.extension() == ".safetensors") {
      hash.add_item(file.filename().string()).add_item(file_hash(file));
    }
  }
  return hash.text();
}

/// Of what a model folder says about its weights: the architecture, and how pictures become input.
std::string config_hash(const std::filesystem::path& folder) {
  Hash hash;
  for (const char* name :
       {"config.json", "preprocessor_config.json", "video_preprocessor_config.json"}) {
    std::error_code missing;
    const std::filesystem::path file = folder / name;
    if (std::filesystem::exists(file, missing)) hash.add_item(name).add_item(file_hash(file));
  }
  return hash.text();
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
    std::cerr << "tome: stopped after step " << reached << " of " << steps
              << "; the same command goes on from there\n";
    stop.end_process();
  }
  return reached;
}

void run_train(TrainArguments a) {
  settle(a);
  if (a.threads > 0) at::set_num_threads(a.threads);
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
  const Checkpoint checkpoint = a.init.empty() ? make_checkpoint(a, labels) : start_from(a, labels);
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
    std::cerr << "tome: '" << a.out << "' was trained for " << reached
              << " steps before, more than " << a.options.steps << ": nothing is left to train\n";
  }
  save_checkpoint(trainer.result(), a.out, a.dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  if (const int64_t skipped = trainer.skipped_steps(); skipped > 0) {
    std::cerr << "tome: " << skipped << " of " << reached
              << " steps were skipped, for their gradient was not finite; a lower --lr may help\n";
  }
  std::printf("%lld steps; the model is in %s\n", static_cast<long long>(reached), a.out.c_str());
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
