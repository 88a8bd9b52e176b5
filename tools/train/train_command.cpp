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

#include "checkpoint/labels.h"
#include "checkpoint/model_spec.h"
#include "dataset.h"
#include "error.h"
#include "forward_settings.h"
#include "train/folder_source.h"
#include "train/generator.h"
#include "train/parameters.h"
#include "train/trainer.h"

namespace tome::cli {
namespace {

using namespace tome::train;

struct TrainArguments {
  std::string out, init, data, generator, name;
  std::optional<std::string> split, eval_split;  ///< unset: train and val, if there are splits
  std::vector<std::string> pictures, clips;
  int64_t frames = 0, tubelet = 0, size = 0, patch = 16, dim = 192, depth = 6, heads = 6, mlp = 4;
  int64_t batch = 32, epochs = 0, ramp = 0, eval_clips = 1200, frame_stride = 0;
  double ema = 0.999, weight_decay = 0.05;
  std::string partition = "auto", precision = "fp32", dtype = "bf16";
  int threads = 0;
  double jitter = 0;
  bool class_token = false, no_flip = false, whole_frame = false;
  TrainOptions options;
};

struct Sources {
  std::unique_ptr<BatchSource> train, eval;
  int64_t eval_batches = 0;
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
  if (a.frames > 0 && out.config.frames == 1) {
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

Sources folder_sources(const TrainArguments& a, const Checkpoint& checkpoint) {
  FolderOptions options;
  // Without that column every row is for training, and nothing is left to evaluate on.
  const bool splits = LabelsFile(a.data).has("split");
  const std::string eval_split = a.eval_split.value_or(splits ? "val" : "");
  options.folder = a.data;
  options.split = a.split.value_or(splits ? "train" : "");
  options.flip = !a.no_flip;
  options.jitter = a.jitter;
  options.frame_stride = a.frame_stride;
  Sources sources;
  sources.train = std::make_unique<FolderSource>(options, checkpoint.labels, checkpoint.config,
                                                 checkpoint.preprocess, a.batch, a.options.seed);
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

void run_train(TrainArguments a) {
  if (a.data.empty() == a.generator.empty()) {
    throw Error(ErrorKind::kSettings, "give either --data FOLDER or --generator camera-state");
  }
  if (a.options.mixup > 0 && a.options.motion_loss > 0) {
    throw Error(ErrorKind::kSettings,
                "--mixup and --motion-loss exclude each other: a mixture has no one motion");
  }
  a.options.device = parse_device(a.options.device).str();
  if (a.threads > 0) at::set_num_threads(a.threads);
  cv::setNumThreads(1);  // the loader's threads are the parallelism
  if (a.name.empty()) a.name = folder_name(a.out);
  a.options.init = folder_name(a.init);
  for (const auto& [option, text] : {std::pair{"--name", a.name},
                                     {"--init", a.options.init},
                                     {"--split", a.split.value_or("")}}) {
    // It goes into a JSON file: now, and not when the training is done.
    if (!is_utf8(text)) throw Error(ErrorKind::kSettings, std::string(option) + ": not UTF-8 text");
  }
  a.options.bf16 = a.precision == "bf16";
  a.options.mixed_partitions = a.partition == "mixed";
  if (!a.options.mixed_partitions) a.options.partition = parse_partition(a.partition);
  a.options.optimizer.ema = a.ema;
  a.options.optimizer.weight_decay = a.weight_decay;

  const std::vector<std::string> labels =
      a.generator.empty() ? read_label_names(a.data) : camera_state_labels();
  const Checkpoint checkpoint = a.init.empty() ? make_checkpoint(a, labels) : start_from(a, labels);
  const Sources sources =
      a.generator.empty() ? folder_sources(a, checkpoint) : generator_sources(a, checkpoint);
  if (a.epochs > 0) {
    const auto* folder = dynamic_cast<const FolderSource*>(sources.train.get());
    const int64_t samples = folder != nullptr ? folder->samples() : 10000;
    a.options.steps = (a.epochs * samples + a.batch - 1) / a.batch;
  }
  Trainer trainer(checkpoint, a.options, a.out);
  const int64_t reached = trainer.run(*sources.train, sources.eval.get(), sources.eval_batches);
  const Checkpoint result = trainer.result();
  save_checkpoint(result, a.out, a.dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  std::printf("%lld steps; the model is in %s\n", static_cast<long long>(reached), a.out.c_str());
  report(load_checkpoint(a.out), sources, a.options);  // what was saved, not what was meant
}

/// CLI::Range lets "nan" through, which is neither below nor above anything.
CLI::Validator between(double least, double most) {
  const std::string range = "[" + exact(least) + " - " + exact(most) + "]";
  return {[=](std::string& text) {
            double value = 0;
            const bool number = CLI::detail::lexical_cast(text, value);
            return number && value >= least && value <= most
                       ? std::string()
                       : "found " + text + ", expected a number in " + range;
          },
          "in " + range};
}

/// Adds options of one kind, each with its range.
class OptionAdder {
 public:
  explicit OptionAdder(CLI::App& app) : app_(app) {}

  template <typename T>
  CLI::Option* count(const char* name, T& value, T least, T most, const std::string& help) {
    return app_.add_option(name, value, help)->check(CLI::Range(least, most));
  }
  void share(const char* name, double& value, double most, const std::string& help) {
    app_.add_option(name, value, help)->check(between(0, most))->capture_default_str();
  }

 private:
  CLI::App& app_;
};

constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr int64_t kMostSamples = int64_t{1} << 20;
constexpr int kMostThreads = 256;

void add_model_options(CLI::App& app, TrainArguments& a) {
  OptionAdder add(app);
  app.add_option("--init", a.init,
                 "Model folder to start from; an image model is inflated to clips, a clip model "
                 "lengthened");
  const auto count = [&](const char* name, int64_t& value, int64_t most, const char* help) {
    return add.count(name, value, int64_t{1}, most, help);
  };
  count("--frames", a.frames, kMaxFrames, "Frames of a clip (1: image model; new models: 8)");
  count("--tubelet", a.tubelet, kMaxFrames, "Frames of one tubelet (clips: 2)");
  count("--size", a.size, kMaxImageSide, "Input size, pixels (new models: 96)");
  count("--patch", a.patch, kMaxImageSide, "Patch size, pixels")->capture_default_str();
  count("--dim", a.dim, 1 << 14, "Width")->capture_default_str();
  count("--depth", a.depth, 1 << 10, "Blocks")->capture_default_str();
  count("--heads", a.heads, 1 << 10, "Attention heads")->capture_default_str();
  count("--mlp-ratio", a.mlp, 64, "MLP width in units of --dim")->capture_default_str();
  app.add_flag("--class-token", a.class_token, "A class token in place of the mean of all tokens");
  app.add_option("--name", a.name, "Name in config.json (default: the output folder's)");
}

void add_data_options(CLI::App& app, TrainArguments& a) {
  OptionAdder add(app);
  app.add_option("--data", a.data, "Folder with labels.csv (file,label[,split])");
  app.add_option("--split", a.split,
                 "Value of the split column to train on (train; without the column: every row)");
  app.add_option("--eval-split", a.eval_split,
                 "Value to evaluate on (val; without the column: none); empty: none");
  add.count("--frame-stride", a.frame_stride, int64_t{0}, kMostSamples,
            "Frames between two of a clip; 0 spreads them over the video")
      ->capture_default_str();
  app.add_flag("--whole-frame", a.whole_frame,
               "With --init: squeeze the whole frame into the input, do not cut its centre");
  add.share("--jitter", a.jitter, 1, "Vary brightness, contrast and saturation by this share");
  app.add_flag("--no-flip", a.no_flip, "Do not mirror (labels with left/right swap by themselves)");
  app.add_option("--generator", a.generator, "Built-in data: camera-state");
  app.add_option("--pictures", a.pictures, "Folders of pictures for the generator");
  app.add_option("--clips", a.clips, "Folders of real clips for the generator");
  add.count("--eval-clips", a.eval_clips, int64_t{1}, int64_t{1} << 30,
            "Generated clips to evaluate on")
      ->capture_default_str();
  add.count("--ramp", a.ramp, int64_t{0}, kMostSteps,
            "Batches over which motions become as slow as they get")
      ->capture_default_str();
}

void add_schedule_options(CLI::App& app, TrainArguments& a) {
  TrainOptions& o = a.options;
  OptionAdder add(app);
  app.add_option("--r", o.r, "Tokens to merge in each block, as tome-r")->capture_default_str();
  app.add_option("--partition", a.partition,
                 "auto: the model's; alternating, by-frame, checkerboard or mixed")
      ->capture_default_str();
  add.share("--unmerged-share", o.unmerged_share, 1, "Share of steps at r=0");
  add.count("--steps", o.steps, int64_t{0}, kMostSteps, "Optimizer steps")->capture_default_str();
  add.count("--epochs", a.epochs, int64_t{1}, kMostSamples, "In place of --steps");
  add.count("--batch", a.batch, int64_t{1}, kMostSamples, "Samples of one step")
      ->capture_default_str();
  add.share("--lr", o.learning_rate, 1000, "Highest learning rate");
  add.count("--warmup", o.warmup_steps, int64_t{0}, kMostSteps, "Steps of linear warm-up")
      ->capture_default_str();
  add.share("--weight-decay", a.weight_decay, 1000, "AdamW's");
  add.share("--drop-path", o.drop_path, 0.99, "Stochastic depth of the last block");
  add.share("--layer-decay", o.layer_decay, 1,
            "Learning rate of each layer in units of the next one's");
  add.share("--mixup", o.mixup, 8, "Alpha of mixup (0.2 is usual); 0: off");
  add.share("--label-smoothing", o.label_smoothing, 1, "Share spread over all classes");
  add.share("--motion-loss", o.motion_loss, 1000, "Weight of the generator's motion as a teacher");
  add.share("--ema", a.ema, 1, "Decay of the averaged weights");
  app.add_option("--seed", o.seed, "Seed of everything")->capture_default_str();
}

void add_machine_options(CLI::App& app, TrainArguments& a) {
  TrainOptions& o = a.options;
  OptionAdder add(app);
  app.add_option("--device", o.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--precision", a.precision, "fp32 or bf16 (autocast)")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--dtype", a.dtype, "Type of the saved weights")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  add.count("--threads", a.threads, 0, 4096, "Threads of the arithmetic; 0: all cores");
  add.count("--workers", o.workers, 1, kMostThreads, "Parts of a batch that run side by side")
      ->capture_default_str();
  add.count("--loader-threads", o.loader_threads, 1, kMostThreads, "Threads that make batches")
      ->capture_default_str();
  add.count("--save-every", o.save_every, int64_t{1}, kMostSteps, "Steps between states")
      ->capture_default_str();
  add.count("--eval-every", o.eval_every, int64_t{1}, kMostSteps, "Steps between evaluations")
      ->capture_default_str();
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* train = app.add_subcommand("train", "Train or fine-tune a model, with merging on");
  const auto a = std::make_shared<TrainArguments>();
  train->add_option("--out", a->out, "Folder of the result, and of the state to resume from")
      ->required();
  add_model_options(*train, *a);
  add_data_options(*train, *a);
  add_schedule_options(*train, *a);
  add_machine_options(*train, *a);
  train->callback([a] { run_train(*a); });
}

}  // namespace tome::cli
