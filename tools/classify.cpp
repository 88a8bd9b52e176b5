// `tome classify`: tags of pictures and videos.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>

#include "checkpoint/checkpoint.h"
#include "commands.h"
#include "engine/clip_window.h"
#include "error_line.h"
#include "folder_entries.h"
#include "forward_settings.h"
#include "media_reader.h"
#include "model_settings.h"
#include "result_line.h"
#include "sample_rows.h"
#include "tome_error.h"
#include "vit/clip_batch.h"
#include "vit/model.h"

namespace tome::cli {
namespace {

constexpr double kNanoseconds = 1e9;

struct ClassifySettings {
  ModelSettings model;
  std::vector<std::string> files;
  std::string r, precision = "fp32", activation = "auto";
  int64_t top_k = 5, batch = 8, clip_stride = 0, frame_stride = 1, interval = 1;
  double threshold = 0;
  bool json = false;
  ForwardSettings forward;
};

/// One input of the model, and where it comes from.
struct Request {
  std::string file;
  std::vector<at::Tensor> frames;  // patch rows, [n, 3 * p * p] each
  ResultTime time;
};

class Classifier {
 public:
  explicit Classifier(const ClassifySettings& settings)
      : settings_(settings), checkpoint_(load_model(settings.model)) {
    use_threads(settings.forward.threads);
    frames_ = frames_per_request(checkpoint_.config, settings.model.clip_length);
    check_static(settings.forward, frames_);
    options_ = forward_options(settings.forward, checkpoint_.config, checkpoint_.preprocess);
    options_.r = r_or_shipped(settings.r, checkpoint_, frames_);
    if (settings.activation == "softmax") checkpoint_.activation = ScoreActivation::kSoftmax;
    if (settings.activation == "sigmoid") checkpoint_.activation = ScoreActivation::kSigmoid;
    if (settings.activation == "none") checkpoint_.activation = ScoreActivation::kNone;
    model_ = std::make_unique<VisionTransformer>(checkpoint_.config, std::move(checkpoint_.weights),
                                                 parse_device(settings.forward.device),
                                                 parse_precision(settings.precision));
  }

  /// Goes on after a file that cannot be read. The last such error is thrown at the end; those
  /// before it are printed as main() prints that one.
  void classify(const std::vector<std::string>& paths) {
    std::optional<Error> unread;
    try {
      for (const std::string& path : paths) {
        go_on(unread, [&] {
          std::error_code missing;  // then reading it says so
          if (!std::filesystem::is_directory(path, missing)) return classify_file(path);
          if (!classify_folder(path, unread)) {
            throw Error(ErrorKind::kRead, path + ": found no file in this folder");
          }
        });
      }
    } catch (...) {
      if (unread) say(unread->what());
      run_pending();
      throw;
    }
    run_pending();
    if (unread) throw *unread;
  }

 private:
  /// All files in it and its folders, by name; false if there are none.
  bool classify_folder(const std::filesystem::path& folder, std::optional<Error>& unread) {
    bool any = false;
    for (const std::filesystem::path& entry : visible_entries(folder)) {
      std::error_code broken;  // a link to nothing is a file that cannot be read
      if (is_inner_folder(entry)) {
        go_on(unread, [&] { any |= classify_folder(entry, unread); });
      } else if (std::filesystem::is_regular_file(entry, broken) || broken) {
        any = true;
        go_on(unread, [&] { classify_file(entry.string()); });
      }
    }
    return any;
  }

  template <typename F>
  static void go_on(std::optional<Error>& unread, F&& work) {
    try {
      work();
    } catch (const Error& error) {
      if (!is_of_file(error.kind())) throw;
      if (unread) say(unread->what());
      unread = error;
    }
  }

  void classify_file(const std::string& file) {
    if (!is_picture(file)) return classify_video(file);
    // To a clip model a picture is a clip in which nothing moves.
    const at::Tensor rows = patch_rows(read_picture(file), checkpoint_);
    if (frames_ > 1) {
      say(file + ": a picture, shown to the clip model " + std::to_string(frames_) + " times");
    }
    submit({file, std::vector<at::Tensor>(frames_, rows), {}});
  }

  /// Windows as the element forms them, see Note [Windows] in clip_window.h.
  void classify_video(const std::string& file) {
    WindowOptions asked;
    asked.length = frames_;
    asked.frame_stride = settings_.frame_stride;
    asked.stride =
        settings_.clip_stride > 0 ? settings_.clip_stride : frames_ * settings_.frame_stride;
    asked.interval = settings_.interval;
    ClipWindows windows(asked);
    bool any = false;
    const auto take = [&](const Window& window) {
      any = true;
      submit(file, window);
    };
    const int64_t frames = for_each_frame(file, [&](const Frame& frame, int64_t, double pts) {
      PatchesPtr rows;
      if (windows.advance())
        rows = std::make_shared<const Patches>(Patches{patch_rows(frame, checkpoint_)});
      const auto window = windows.push(std::move(rows), std::llround(pts * kNanoseconds));
      if (window) take(*window);
      return true;
    });
    if (const std::optional<Window> rest = windows.drain()) take(*rest);
    if (any) return;
    const int64_t least = ((frames_ + 1) / 2 - 1) * settings_.frame_stride + 1;
    throw Error(ErrorKind::kFormat, file + ": found " + std::to_string(frames) +
                                        " frames, expected at least " + std::to_string(least) +
                                        " for a window of " + std::to_string(frames_));
  }

  void submit(const std::string& file, const Window& window) {
    const auto seconds = [](int64_t pts) { return static_cast<double>(pts) / kNanoseconds; };
    Request request{file, {}, {}};
    for (const PatchesPtr& frame : window.frames) request.frames.push_back(frame->rows);
    request.time.pts = seconds(window.end_pts);
    request.time.frames = window.real_frames;
    if (frames_ > 1) {
      request.time.clip_start = seconds(window.start_pts);
      request.time.clip_end = seconds(window.end_pts);
    }
    submit(std::move(request));
  }

  void submit(Request request) {
    pending_.push_back(std::move(request));
    if (static_cast<int64_t>(pending_.size()) >= settings_.batch) run_pending();
  }

  void run_pending() {
    const std::vector<Request> requests = std::exchange(pending_, {});  // once, also if it fails
    if (requests.empty()) return;
    const c10::InferenceMode inference;
    std::vector<at::Tensor> batch;
    for (const Request& request : requests) batch.push_back(at::stack(request.frames));
    const ClipBatchOutput output = forward_clips(*model_, at::stack(batch), options_);
    const at::Tensor scores = to_scores(output.logits, checkpoint_.activation).contiguous();
    for (size_t i = 0; i < requests.size(); ++i) {
      print(requests[i], scores[static_cast<int64_t>(i)], output.tokens_in, output.tokens_out[i]);
    }
  }

  void print(const Request& request, const at::Tensor& scores, int64_t tokens_in,
             int64_t tokens_out) const {
    const auto tags = top_tags(scores, checkpoint_.labels, settings_.top_k, settings_.threshold);
    if (settings_.json) {
      std::cout << result_text(result_record(request.file, checkpoint_.config.name, request.time,
                                             tags, tokens_in, tokens_out));
      return end_line();
    }
    std::cout << printable(request.file) << std::fixed << std::setprecision(3);
    if (request.time.pts) std::cout << "  " << *request.time.pts << " s";
    for (const ResultTag& tag : tags) std::cout << "  " << tag.label << ' ' << tag.score;
    end_line();
  }

  static void end_line() {
    std::cout << std::endl;  // at once, for whoever reads along
    // A reader that has gone is no signal to those who ignore it, and hours may be left to do.
    if (!std::cout) throw Error(ErrorKind::kFailed, "standard output: cannot be written");
  }

  const ClassifySettings& settings_;
  Checkpoint checkpoint_;
  int64_t frames_ = 1;
  ForwardOptions options_;
  std::unique_ptr<VisionTransformer> model_;
  std::vector<Request> pending_;
};

}  // namespace

void add_classify_command(CLI::App& app) {
  auto settings = std::make_shared<ClassifySettings>();
  CLI::App* command = app.add_subcommand("classify", "Print the tags of pictures and videos");
  add_model_or_shipped(*command, settings->model);
  command
      ->add_option("files", settings->files,
                   "pictures, videos and folders of them; what cannot be read is named on stderr")
      ->required();
  command->add_option("--labels-file", settings->model.labels_file, "one label a line");
  command->add_option("--r", settings->r,
                      "tokens to merge in each block: 0, 13, 16:-1, 16,8,4, keep=0.5; "
                      "default: what the model ships with");
  command->add_option("--precision", settings->precision, "fp32, bf16, fp16 (GPUs) or int8 (CPUs)")
      ->capture_default_str();
  command->add_option("--activation", settings->activation, "logits to scores")
      ->check(CLI::IsMember({"auto", "softmax", "sigmoid", "none"}))
      ->capture_default_str();
  const auto count = [&](const char* name, int64_t& value, int64_t least, const char* help) {
    add_count(*command, name, value, least, help);
  };
  count("--top-k", settings->top_k, 1, "tags of each result");
  count("--batch", settings->batch, 1, "frames or windows of one forward");
  count("--interval", settings->interval, 1, "classify every n-th frame, or window");
  add_size_options(*command, settings->model, "frames of a window; 0: the model's own");
  count("--clip-stride", settings->clip_stride, 0, "frames between two windows; 0: no overlap");
  count("--frame-stride", settings->frame_stride, 1, "every n-th frame enters a window");
  command->add_option("--threshold", settings->threshold, "leave out scores below; 0: none")
      ->capture_default_str();
  command->add_flag("--json", settings->json, "one JSON object a line, as tomepublish writes it");
  add_forward_options(*command, settings->forward);
  command->callback([settings] {
    if (std::isnan(settings->threshold)) {
      throw Error(ErrorKind::kSettings, "--threshold: found NaN, expected a number");
    }
    use_shipped_model(settings->model);
    Classifier classifier(*settings);
    classifier.classify(settings->files);
  });
}

}  // namespace tome::cli
