#include "train/train_options.h"

#include <string>
#include <vector>

#include "checkpoint/model_spec.h"
#include "tome_error.h"
#include "train/batch.h"

namespace tome::cli {
namespace {

using namespace tome::train;

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
                 "lengthened; --patch to --class-token are its own");
  const auto count = [&](const char* name, int64_t& value, int64_t most, const char* help) {
    return add.count(name, value, int64_t{1}, most, help);
  };
  count("--frames", a.frames, kMaxFrames, "Frames of a clip (1: image model; new models: 8)");
  count("--tubelet", a.tubelet, kMaxFrames,
        "Frames of one tubelet (clips: 2); with --init, where an image model becomes a clip model");
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
  app.add_option("--data", a.data,
                 "Folder with labels.csv (file, label or class_index, perhaps split), or with a "
                 "folder for each class: [split/]class/file");
  app.add_option("--split", a.split, "Split to train on (train; without splits: every sample)");
  app.add_option("--eval-split", a.eval_split,
                 "Split to evaluate on (val, valid, validation or test, whichever is first there); "
                 "empty: none");
  add.count("--frame-stride", a.frame_stride, int64_t{0}, kMostSamples,
            "Frames between two of a clip; 0 spreads them over the whole video")
      ->capture_default_str();
  app.add_flag("--whole-frame", a.whole_frame,
               "With --init: squeeze the whole frame into the input, do not cut its centre");
  add.share("--jitter", a.jitter, 1, "Vary brightness, contrast and saturation by this share");
  app.add_flag("--no-flip", a.no_flip, "Do not mirror (labels with left/right swap by themselves)");
  app.add_option("--cache-gb", a.cache_gb,
                 "Decoded frames kept in memory, 1e9 bytes (a quarter of what is available at the "
                 "start); 0: none")
      ->check(between(0, 1e6));
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
  add.count("--epochs", a.epochs, int64_t{1}, kMostSamples, "In place of --steps, with --data");
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

/// Options that say nothing in the presence of `other`, and why.
struct Conflict {
  const char* other;
  std::vector<const char*> options;
  const char* reason;
};

const std::vector<Conflict>& conflicts() {
  static const std::vector<Conflict> all{
      {"--init",
       {"--patch", "--dim", "--depth", "--heads", "--mlp-ratio", "--class-token"},
       "the model to start from has its own"},
      {"--data", {"--pictures", "--clips", "--ramp", "--eval-clips"}, "it is --generator's"},
      {"--data", {"--motion-loss"}, "only --generator knows how the camera moved"},
      {"--generator",
       {"--split", "--eval-split", "--frame-stride", "--jitter", "--no-flip", "--cache-gb"},
       "it is --data's"},
      {"--generator", {"--epochs"}, "generated clips have no end, say how many --steps"},
      {"--steps", {"--epochs"}, "both say how long"},
  };
  return all;
}

}  // namespace

void add_train_options(CLI::App& app, TrainArguments& a) {
  app.add_option("--out", a.out, "Folder of the result, and of the state to resume from")
      ->required();
  add_model_options(app, a);
  add_data_options(app, a);
  add_schedule_options(app, a);
  add_machine_options(app, a);
}

void check_train_options(const CLI::App& app, const TrainArguments& a) {
  if (a.data.empty() == a.generator.empty()) {
    throw Error(ErrorKind::kSettings, "give either --data FOLDER or --generator camera-state");
  }
  if (a.whole_frame && a.init.empty()) {
    throw Error(ErrorKind::kSettings,
                "--whole-frame: found without --init, expected with it: a new model sees the whole "
                "frame anyway");
  }
  if (a.options.mixup > 0 && a.options.motion_loss > 0) {
    throw Error(ErrorKind::kSettings,
                "--mixup and --motion-loss exclude each other: a mixture has no one motion");
  }
  for (const Conflict& conflict : conflicts()) {
    if (app.count(conflict.other) == 0) continue;
    for (const char* option : conflict.options) {
      if (app.count(option) == 0) continue;
      throw Error(ErrorKind::kSettings, std::string(option) + ": found with " + conflict.other +
                                            ", expected without: " + conflict.reason);
    }
  }
}

}  // namespace tome::cli
