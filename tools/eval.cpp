// `tome eval`: accuracy, cost and speed over a labelled folder, for one model and many r.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "commands.h"
#include "eval_source.h"
#include "forward_settings.h"
#include "merging/schedule.h"
#include "plot.h"
#include "result_line.h"
#include "tome_error.h"
#include "vit/model.h"

namespace tome::cli {
namespace {

struct EvalSettings {
  std::string model, data, labels_file, plot, precision = "fp32";
  std::optional<std::string> split;  ///< unset: what is held out, if there are splits
  GeneratedClips generated;
  std::vector<std::string> r{"0"};
  int64_t batch = 16, limit = 0, windows = 4, clip_length = 0, frame_stride = 1;
  bool json = false;
  ForwardSettings forward;
};

/// One row of the result: a precision and a schedule, and what they did so far.
struct Run {
  std::string precision, spec;
  const VisionTransformer* model = nullptr;
  ForwardOptions options;
  std::vector<int64_t> effective;
  double gflops = 0, seconds = 0;
  int64_t tokens_in = 0, tokens_out = 0;
  int64_t images = 0, top1 = 0, top5 = 0;
  std::vector<int64_t> leading;  ///< best class of each image, to compare runs with
};

class Evaluation {
 public:
  explicit Evaluation(const EvalSettings& settings)
      : settings_(settings), threads_(use_threads(settings.forward.threads)) {
    LoadOptions load;
    if (!settings.labels_file.empty()) load.labels_file = settings.labels_file;
    load.clip_length = settings.clip_length;
    checkpoint_ = load_checkpoint(settings.model, load);
    frames_ = frames_per_request(checkpoint_.config, settings.clip_length);
    source_ = open_source();
    make_runs();
  }

  void run() {
    const c10::InferenceMode inference;
    const bool progress = isatty(STDERR_FILENO) != 0;
    const int64_t total = source_->size();
    for (int64_t begin = 0; begin < total; begin += settings_.batch) {
      const int64_t end = std::min(begin + settings_.batch, total);
      // Decoded once for all runs; and all runs take turns, so that a machine that slows down
      // slows all of them.
      const at::Tensor rows = source_->load(begin, end);
      for (Run& run : runs_) run_batch(run, rows, begin, end);
      if (progress) std::cerr << "\r" << end << "/" << total << (end == total ? "\n" : "");
    }
  }

  void print() const {
    if (settings_.json) {
      auto rows = nlohmann::ordered_json::array();
      for (const Run& run : runs_) rows.push_back(to_json(run));
      std::cout << rows.dump(2) << std::endl;
    } else {
      print_table();
    }
    if (!settings_.plot.empty()) draw();
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
    split_ = settings_.split.value_or(dataset.held_out_split().value_or(""));
    return folder_eval_source(dataset, split_, settings_.limit,
                              {frames_, settings_.windows, settings_.frame_stride}, checkpoint_,
                              threads_);
  }

  void make_runs() {
    const at::Device device = parse_device(settings_.forward.device);
    const TokenGeometry geometry = token_geometry(checkpoint_.config, frames_);
    const auto precisions = split(settings_.precision, ',');
    for (const std::string& precision : precisions) {
      models_.push_back(std::make_unique<VisionTransformer>(checkpoint_.config, checkpoint_.weights,
                                                            device, parse_precision(precision)));
      for (const std::string& spec : split_specs(settings_.r)) {
        Run run;
        run.precision = precision;
        run.spec = spec;
        run.model = models_.back().get();
        run.options =
            forward_options(settings_.forward, checkpoint_.config, checkpoint_.preprocess);
        run.options.r = Schedule::parse(spec).resolve(geometry);
        run.effective = effective_r(run.options.r, geometry);
        run.gflops = forward_gflops(checkpoint_.config, run.effective, frames_);
        runs_.push_back(std::move(run));
      }
    }
  }

  void run_batch(Run& run, const at::Tensor& rows, int64_t begin, int64_t end) {
    const auto start = std::chrono::steady_clock::now();
    const ForwardOutput output = run.model->forward(rows, run.options);
    const at::Tensor logits = output.logits.to(at::kCPU, at::kFloat);
    run.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

    const int64_t images = end - begin;
    const at::Tensor scores = to_scores(logits, checkpoint_.activation)
                                  .reshape({images, source_->windows(), -1})
                                  .mean(1)
                                  .contiguous();
    for (int64_t i = 0; i < images; ++i) {
      const auto tags = top_tags(scores[i], checkpoint_.labels, 5, -1e30);
      const int64_t best = tags.empty() ? -1 : tags.front().id;  // no score is a number: wrong
      run.leading.push_back(best);
      const int64_t truth = source_->class_index(begin + i);
      run.top1 += best == truth ? 1 : 0;
      const auto is_right = [&](const Tag& tag) { return tag.id == truth; };
      run.top5 += std::any_of(tags.begin(), tags.end(), is_right) ? 1 : 0;
    }
    run.images += images;
    run.tokens_in = output.tokens_in;
    run.tokens_out = output.tokens_out;
  }

  /// Percent of the images whose best class is that of the unmerged run of the same precision.
  std::optional<double> agreement(const Run& run) const {
    for (const Run& other : runs_) {
      if (other.spec != "0" || other.precision != run.precision) continue;
      int64_t equal = 0;
      for (size_t i = 0; i < run.leading.size(); ++i) equal += run.leading[i] == other.leading[i];
      return percent(equal, run.images);
    }
    return std::nullopt;
  }

  static double percent(int64_t part, int64_t whole) {
    return 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  }

  nlohmann::ordered_json to_json(const Run& run) const {
    nlohmann::ordered_json row;
    row["r"] = run.spec;
    row["precision"] = run.precision;
    if (!settings_.data.empty()) row["split"] = split_;
    row["images"] = run.images;
    row["top1"] = percent(run.top1, run.images);
    row["top5"] = percent(run.top5, run.images);
    const auto agreed = agreement(run);
    row["agreement"] = agreed ? nlohmann::ordered_json(*agreed) : nlohmann::ordered_json(nullptr);
    row["tokens_in"] = run.tokens_in;
    row["tokens_last"] = run.tokens_out;
    row["r_per_block"] = run.effective;
    row["gflops"] = run.gflops;
    row["images_per_s"] = static_cast<double>(run.images) / run.seconds;
    return row;
  }

  void print_table() const {
    std::cout << checkpoint_.config.name << ", " << source_->size() << " samples of "
              << (settings_.data.empty() ? settings_.generated.generator : settings_.data)
              << (split_.empty() ? "" : ", split ") << split_ << ", " << threads_
              << " threads, batch " << settings_.batch << "\n";
    std::cout << std::left << std::setw(14) << "r" << std::setw(6) << "prec" << std::right
              << std::setw(8) << "top-1" << std::setw(8) << "top-5" << std::setw(10) << "as r=0"
              << std::setw(8) << "tokens" << std::setw(10) << "GFLOPs" << std::setw(11)
              << "images/s"
              << "\n"
              << std::fixed;
    for (const Run& run : runs_) {
      const auto agreed = agreement(run);
      std::cout << std::left << std::setw(14) << run.spec << std::setw(6) << run.precision
                << std::right << std::setprecision(1) << std::setw(8)
                << percent(run.top1, run.images) << std::setw(8) << percent(run.top5, run.images)
                << std::setw(10);
      if (agreed) {
        std::cout << *agreed;
      } else {
        std::cout << "-";
      }
      std::cout << std::setw(8) << run.tokens_out << std::setprecision(2) << std::setw(10)
                << run.gflops << std::setprecision(1) << std::setw(11)
                << static_cast<double>(run.images) / run.seconds << "\n";
    }
    std::cout << std::flush;
  }

  void draw() const {
    std::vector<PlotSeries> series;
    for (const Run& run : runs_) {
      if (series.empty() || series.back().name != run.precision)
        series.push_back({run.precision, {}});
      series.back().points.push_back({run.gflops, percent(run.top1, run.images), run.spec});
    }
    write_plot(settings_.plot, checkpoint_.config.name + ": top-1 over cost, labelled by r",
               "GFLOPs per input", "top-1, percent", series);
  }

  const EvalSettings& settings_;
  int threads_;
  Checkpoint checkpoint_;
  int64_t frames_ = 1;  // of one request
  std::string split_;   // "": all samples
  std::unique_ptr<EvalSource> source_;
  std::vector<std::unique_ptr<VisionTransformer>> models_;
  std::vector<Run> runs_;
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
                  "is there, else all); empty: all")
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
  command.add_option("--model", settings.model, "model folder in Hugging Face layout")->required();
  command
      .add_option("--r", settings.r,
                  "schedules, separated by commas (0,8,16:-1); by semicolons where one of them is "
                  "a per-block list (0;16,8,4); or one for each --r")
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      .add_option("--precision", settings.precision,
                  "fp32, bf16, fp16 (GPUs), int8 (CPUs), or several by commas")
      ->capture_default_str();
  command.add_option("--labels-file", settings.labels_file, "one label a line");
  add_count(command, "--batch", settings.batch, 1, "samples of one forward");
  add_count(command, "--clip-length", settings.clip_length, 0,
            "frames of a window; 0: the model's own");
  command.add_flag("--json", settings.json, "one array of objects");
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
    if (!settings->plot.empty()) check_plot_file(settings->plot);  // not after an hour's work
    Evaluation evaluation(*settings);
    evaluation.run();
    evaluation.print();
  });
}

}  // namespace tome::cli
