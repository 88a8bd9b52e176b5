// `tome eval`: accuracy, cost and speed over a labelled folder, for one model and many r.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "commands.h"
#include "error_line.h"
#include "eval_run.h"
#include "eval_source.h"
#include "forward_settings.h"
#include "model_settings.h"
#include "plot.h"
#include "png_file.h"
#include "result_line.h"
#include "schedule_option.h"
#include "tome_error.h"
#include "vit/clip_batch.h"
#include "vit/model.h"
#include "vit/token_geometry.h"

namespace tome::cli {
namespace {

struct EvalSettings {
  ModelSettings model;
  std::string data, plot, predictions, precision = "fp32";
  std::optional<std::string> split;  ///< unset: what is held out, if there are splits
  GeneratedClips generated;
  std::vector<std::string> r{"0"};
  int64_t batch = 16, limit = 0, windows = 4, frame_stride = 1;
  bool json = false;
  ForwardSettings forward;
};

class Evaluation {
 public:
  explicit Evaluation(const EvalSettings& settings)
      : settings_(settings), threads_(use_threads(settings.forward.threads)) {
    checkpoint_ = load_model(settings.model);
    frames_ = frames_per_request(checkpoint_.config, settings.model.clip_length);
    check_static(settings.forward, frames_);
    source_ = open_source();
    make_runs();
    open_predictions();
  }

  void run() {
    const c10::InferenceMode inference;
    const bool progress = isatty(STDERR_FILENO) != 0;
    const int64_t total = source_->size();
    for (int64_t begin = 0; begin < total; begin += settings_.batch) {
      const int64_t end = std::min(begin + settings_.batch, total);
      // Decoded once for all runs; and all runs take turns, so that a machine that slows down
      // slows all of them.
      SampleRows rows = source_->load(begin, end);
      for (int64_t& place : rows.read) place += begin;
      note(rows.unreadable, progress);
      for (EvalRun& run : runs_) run_batch(run, rows);
      if (predictions_.is_open()) write_predictions(rows.read);
      if (progress) std::cerr << "\r" << end << "/" << total << (end == total ? "\n" : "");
    }
    if (runs_.front().images == 0) throw *unread_;
  }

  void print() const {
    if (settings_.json) {
      auto rows = nlohmann::ordered_json::array();
      for (const EvalRun& run : runs_) rows.push_back(to_json(run));
      // Names of files may be in any encoding.
      std::cout << rows.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
    } else {
      print_table();
    }
    if (!settings_.plot.empty()) draw();
  }

  /// Throws the last of what could not be read. Those before it are printed as main() prints it.
  void fail_if_unread() const {
    if (unread_) throw *unread_;
  }

 private:
  std::unique_ptr<EvalSource> open_source() {
    if (settings_.data.empty() == settings_.generated.generator.empty()) {
      throw Error(ErrorKind::kSettings, "give either --data FOLDER or --generator camera-state");
    }
    if (settings_.data.empty()) {
      constexpr int64_t kClips = 1200;
      return generated_eval_source(settings_.generated,
                                   settings_.limit > 0 ? settings_.limit : kClips, checkpoint_);
    }
    const Dataset dataset(settings_.data);
    split_ = settings_.split ? *settings_.split : dataset.measured_split();
    return folder_eval_source(dataset, split_, settings_.limit,
                              {frames_, settings_.windows, settings_.frame_stride}, checkpoint_,
                              threads_);
  }

  void open_predictions() {
    if (settings_.predictions.empty()) return;
    predictions_.open(settings_.predictions);
    check_predictions();
  }

  void check_predictions() const {
    if (predictions_) return;
    throw Error(ErrorKind::kFailed,
                "--predictions: '" + settings_.predictions + "' cannot be written");
  }

  void make_runs() {
    const at::Device device = parse_device(settings_.forward.device);
    device_ = device.str();
    const TokenGeometry geometry = token_geometry(checkpoint_.config, frames_);
    for (const std::string& precision : split(settings_.precision, ',')) {
      models_.push_back(std::make_unique<VisionTransformer>(checkpoint_.config, checkpoint_.weights,
                                                            device, parse_precision(precision)));
      for (const std::string& spec : split_specs(settings_.r, checkpoint_.default_schedule)) {
        EvalRun run;
        run.precision = precision;
        run.spec = spec;
        run.model = models_.back().get();
        run.options =
            forward_options(settings_.forward, checkpoint_.config, checkpoint_.preprocess);
        run.options.r = asked_r(spec, geometry);
        runs_.push_back(std::move(run));
      }
    }
  }

  /// Prints what could not be read, all but the last of the whole evaluation.
  void note(const std::vector<Error>& errors, bool progress) {
    for (const Error& error : errors) {
      if (unread_ && progress) std::cerr << "\n";
      if (unread_) say(unread_->what());
      unread_ = error;
      ++unreadable_;
    }
  }

  void run_batch(EvalRun& run, const SampleRows& rows) const {
    run.tags.clear();
    if (rows.read.empty()) return;
    const auto start = std::chrono::steady_clock::now();
    const ClipBatchOutput output = forward_clips(*run.model, rows.patches, run.options);
    run.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    run.add_cost(output, checkpoint_.config, frames_);

    const auto images = static_cast<int64_t>(rows.read.size());
    const at::Tensor scores = to_scores(output.logits, checkpoint_.activation)
                                  .reshape({images, source_->windows(), -1})
                                  .mean(1)
                                  .contiguous();
    for (int64_t i = 0; i < images; ++i) {
      run.add_answer(top_tags(scores[i], checkpoint_.labels, 5, 0),
                     source_->class_index(rows.read[static_cast<size_t>(i)]));
    }
  }

  /// One line for each sample of the batch that all runs have just had.
  void write_predictions(const std::vector<int64_t>& samples) {
    for (size_t i = 0; i < samples.size(); ++i) {
      const std::string file = source_->file(samples[i]);
      const int64_t truth = source_->class_index(samples[i]);
      nlohmann::ordered_json line;
      line["sample"] = samples[i];
      if (!file.empty()) line["file"] = file;
      line["truth"] = {{"id", truth}, {"label", checkpoint_.labels.at(static_cast<size_t>(truth))}};
      for (const EvalRun& run : runs_) {
        line["runs"].push_back(
            {{"r", run.spec}, {"precision", run.precision}, {"tags", tags_json(run.tags[i])}});
      }
      predictions_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
    }
    predictions_.flush();
    check_predictions();
  }

  /// Percent of the images whose best class is that of the unmerged run of the same precision.
  std::optional<double> agreement(const EvalRun& run) const {
    for (const EvalRun& other : runs_) {
      if (other.spec == "0" && other.precision == run.precision) return run.agreement(other);
    }
    return std::nullopt;
  }

  nlohmann::ordered_json to_json(const EvalRun& run) const {
    nlohmann::ordered_json row;
    row["r"] = run.spec;
    row["precision"] = run.precision;
    row["model"] = checkpoint_.config.name;
    row["device"] = device_;
    row["threads"] = threads_;
    row["batch"] = settings_.batch;
    row["frames"] = frames_;
    if (settings_.model.size > 0) row["size"] = settings_.model.size;
    if (settings_.data.empty()) {
      row["generator"] = settings_.generated.generator;
    } else {
      row["data"] = settings_.data;
      row["split"] = split_;
      row["windows"] = source_->windows();
      row["frame_stride"] = settings_.frame_stride;
    }
    row.update(tome::cli::to_json(settings_.forward));
    row["unreadable"] = unreadable_;
    run.write_to(row);
    const auto agreed = agreement(run);
    row["agreement"] = agreed ? nlohmann::ordered_json(*agreed) : nlohmann::ordered_json(nullptr);
    return row;
  }

  void print_table() const {
    const std::string merging = unusual(settings_.forward);
    std::cout << checkpoint_.config.name << ", " << source_->size() << " samples of "
              << printable(settings_.data.empty() ? settings_.generated.generator : settings_.data)
              << (split_.empty() ? "" : ", split ") << printable(split_) << ", " << threads_
              << " threads, batch " << settings_.batch;
    if (settings_.model.size > 0) std::cout << ", " << settings_.model.size << " pixels";
    if (source_->windows() > 1) std::cout << ", " << source_->windows() << " windows";
    if (unreadable_ > 0) std::cout << ", " << unreadable_ << " unreadable";
    if (!merging.empty()) std::cout << "\nmerging: " << merging;
    std::cout << "\n" << EvalRun::header() << "\n";
    for (const EvalRun& run : runs_) std::cout << run.line(agreement(run)) << "\n";
    std::cout << std::flush;
  }

  void draw() const {
    std::vector<PlotSeries> series;
    for (const EvalRun& run : runs_) {
      if (series.empty() || series.back().name != run.precision)
        series.push_back({run.precision, {}});
      series.back().points.push_back({run.gflops(), run.top1(), run.spec});
    }
    write_plot("--plot", settings_.plot,
               checkpoint_.config.name + ": top-1 over cost, labelled by r", "GFLOPs per input",
               {{"top-1, percent", series}});
  }

  const EvalSettings& settings_;
  int threads_;
  Checkpoint checkpoint_;
  int64_t frames_ = 1;  // of one request
  std::string split_;   // "": all samples
  std::unique_ptr<EvalSource> source_;
  std::string device_;
  std::vector<std::unique_ptr<VisionTransformer>> models_;
  std::vector<EvalRun> runs_;
  std::ofstream predictions_;
  std::optional<Error> unread_;  // the last file that could not be read
  int64_t unreadable_ = 0;
};

/// What is measured on.
void add_source_options(CLI::App& command, EvalSettings& settings) {
  command.add_option("--data", settings.data,
                     "folder with labels.csv (file, class_index or label, perhaps split), or with "
                     "a folder for each class: [split/]class/file");
  CLI::Option* generator =
      command.add_option("--generator", settings.generated.generator,
                         "in place of --data: clips of the training's generator, camera-state");
  command.add_option("--pictures", settings.generated.pictures, "folders for the generator")
      ->needs(generator);
  command.add_option("--clips", settings.generated.clips, "folders for the generator")
      ->needs(generator);
  command.add_option("--generator-seed", settings.generated.seed, "as --seed of the training")
      ->needs(generator)
      ->capture_default_str();
  command
      .add_option("--split", settings.split,
                  "only samples of this split (the first of val, valid, validation and test that "
                  "is there; without splits all); empty: all")
      ->excludes(generator);
  add_count(command, "--limit", settings.limit, 0,
            "at most so many samples, evenly spread; 0: all (1200 generated clips)");
  add_count(command, "--windows", settings.windows, 1, "windows of one video, scores averaged")
      ->excludes(generator);
  add_count(command, "--frame-stride", settings.frame_stride, 0,
            "frames between two of a window; 0: the window spans its share of the video")
      ->excludes(generator);
}

/// What is measured.
void add_run_options(CLI::App& command, EvalSettings& settings) {
  command.add_option("--model", settings.model.folder, "model folder in Hugging Face layout")
      ->required();
  command
      .add_option("--r", settings.r,
                  "schedules, separated by commas (0,8,16:-1); by semicolons where one of them is "
                  "a per-block list (0;16,8,4); or one for each --r; 'model' is the one it ships "
                  "with")
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      .add_option("--precision", settings.precision,
                  "fp32, bf16, fp16 (GPUs), int8 (CPUs), or several by commas")
      ->capture_default_str();
  command.add_option("--labels-file", settings.model.labels_file, "one label a line");
  add_count(command, "--batch", settings.batch, 1, "samples of one forward");
  add_size_options(command, settings.model, "frames of a window; 0: the model's own");
  command.add_flag("--json", settings.json, "one array of objects");
  command.add_option(
      "--predictions", settings.predictions,
      "write the five best tags of each sample to this file, one JSON object a line");
  command.add_option("--plot", settings.plot, "draw top-1 over GFLOPs into this PNG file");
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto settings = std::make_shared<EvalSettings>();
  CLI::App* command =
      app.add_subcommand("eval", "Accuracy, GFLOPs and speed over a labelled folder");
  add_run_options(*command, *settings);
  add_source_options(*command, *settings);
  add_forward_options(*command, settings->forward);
  command->callback([settings] {
    if (!settings->plot.empty()) check_png_file("--plot", settings->plot);  // not after an hour
    Evaluation evaluation(*settings);
    evaluation.run();
    evaluation.print();
    evaluation.fail_if_unread();
  });
}

}  // namespace tome::cli
