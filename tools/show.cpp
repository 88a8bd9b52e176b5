// `tome show`: which patches of a picture or of a clip become one token, as a picture.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <opencv2/imgproc.hpp>

#include "checkpoint/checkpoint.h"
#include "commands.h"
#include "error_line.h"
#include "forward_settings.h"
#include "media_reader.h"
#include "model_settings.h"
#include "png_file.h"
#include "sample_rows.h"
#include "token_picture.h"
#include "tome_error.h"
#include "vit/model.h"

namespace tome::cli {
namespace {

struct ShowSettings {
  ModelSettings model;
  std::string file, out = "tokens.png", r, precision = "fp32";
  std::string after;  ///< blocks, counted from 1; empty: the last
  int64_t frame_stride = 1;
  double from = 0;  ///< seconds
  ForwardSettings forward;
};

/// The tokens behind one block.
struct Stage {
  std::string caption;
  TokenMap map;
};

class Show {
 public:
  explicit Show(const ShowSettings& settings) : settings_(settings) {
    use_threads(settings.forward.threads);
    checkpoint_ = load_model(settings.model);
    frames_ = frames_per_request(checkpoint_.config, settings.model.clip_length);
    check_static(settings.forward, frames_);
    options_ = forward_options(settings.forward, checkpoint_.config, checkpoint_.preprocess);
    if (options_.method == MergeMethod::kRandomPrune ||
        options_.method == MergeMethod::kAttentionPrune) {
      throw Error(ErrorKind::kSettings, "--method: found " + settings.forward.method +
                                            ", which drops tokens; expected one that merges them");
    }
    options_.r = r_or_shipped(settings.r, checkpoint_, frames_);
    options_.track_source = true;
    read_blocks();
    model_ = std::make_unique<VisionTransformer>(checkpoint_.config, std::move(checkpoint_.weights),
                                                 parse_device(settings.forward.device),
                                                 parse_precision(settings.precision));
  }

  void run() {
    const c10::InferenceMode inference;
    const at::Tensor patches = read_patches();
    const at::Tensor seen = seen_pixels(patches, checkpoint_.config, checkpoint_.preprocess);
    std::vector<at::Tensor> pictures{captioned("as the model sees it", enlarged(seen, zoom()))};
    for (const int64_t block : blocks_) {
      const Stage stage = tokens_after(patches, block);
      std::cout << stage.caption << ", the largest of " << largest_token(stage.map) << " patches\n";
      pictures.push_back(captioned(stage.caption, draw_tokens(seen, stage.map, zoom())));
    }
    write(pictures);
  }

 private:
  void read_blocks() {
    const int64_t depth = checkpoint_.config.depth;
    blocks_ =
        settings_.after.empty() ? std::vector{depth} : parse_counts(settings_.after, "--after");
    for (const int64_t block : blocks_) {
      if (block <= depth) continue;
      throw Error(ErrorKind::kSettings, "--after: found " + std::to_string(block) +
                                            ", expected at most the model's " +
                                            std::to_string(depth) + " blocks");
    }
  }

  /// float32 [T, n, 3 * p * p]. A clip that the video's end cuts short is drawn with its last frame
  /// repeated, whatever is left of it.
  at::Tensor read_patches() const {
    std::vector<at::Tensor> rows;
    if (is_picture(settings_.file)) {
      rows.push_back(patch_rows(read_picture(settings_.file), checkpoint_));
    } else {
      int64_t since = 0;
      for_each_frame(settings_.file, [&](const Frame& frame, int64_t, double pts) {
        if (pts < settings_.from) return true;
        if (since++ % settings_.frame_stride == 0) rows.push_back(patch_rows(frame, checkpoint_));
        return static_cast<int64_t>(rows.size()) < frames_;
      });
    }
    if (rows.empty()) {
      throw Error(ErrorKind::kSettings, "--from: " + settings_.file + " ends before");
    }
    if (static_cast<int64_t>(rows.size()) < frames_) {
      say(settings_.file + ": " + std::to_string(rows.size()) + " of the clip's " +
          std::to_string(frames_) + " frames are there, the last one is repeated");
      rows.resize(static_cast<size_t>(frames_), rows.back());
    }
    return at::stack(rows);
  }

  /// The rest of the schedule does not matter to what happened up to `block`.
  Stage tokens_after(const at::Tensor& patches, int64_t block) const {
    ForwardOptions options = options_;
    if (static_cast<int64_t>(options.r.size()) > block) options.r.resize(block);
    const ForwardOutput output =
        model_->forward(patches.unsqueeze(0).to(model_->device()), options);
    const ViTConfig& config = checkpoint_.config;
    const int64_t prefix = config.prefix_tokens();
    const at::Tensor source = output.source[0].to(at::kCPU);
    Stage stage;
    stage.map.tubelet = config.tubelet;
    stage.map.patch = config.patch;
    stage.map.token =
        source.narrow(0, prefix, source.size(0) - prefix)
            .reshape({frames_ / config.tubelet, config.grid_rows(), config.grid_cols()});
    stage.caption = "block " + std::to_string(block) + ": " + std::to_string(output.tokens_out) +
                    " of " + std::to_string(output.tokens_in) + " tokens";
    return stage;
  }

  /// Small inputs, such as one picture of 224 pixels, are enlarged.
  int64_t zoom() const {
    constexpr int64_t kWidth = 448;
    const int64_t width = frames_ * checkpoint_.config.grid_cols() * checkpoint_.config.patch;
    return std::clamp<int64_t>(kWidth / width, 1, 4);
  }

  /// Frames [T, H, W, 3] from left to right under a line of text: bytes [H + line, W', 3], where W'
  /// is T * W, or the text's width where that is more.
  static at::Tensor captioned(const std::string& caption, const at::Tensor& frames) {
    constexpr int kLine = 24, kMargin = 4, kFont = cv::FONT_HERSHEY_SIMPLEX;
    constexpr double kSize = 0.5;
    const int needed = cv::getTextSize(caption, kFont, kSize, 1, nullptr).width + 2 * kMargin;
    at::Tensor strip = frames.permute({1, 0, 2, 3}).reshape({frames.size(1), -1, frames.size(3)});
    const int64_t missing = std::max<int64_t>(0, needed - strip.size(1));
    strip = at::constant_pad_nd(strip, {0, 0, 0, missing}, 255);
    at::Tensor line = at::full({kLine, strip.size(1), 3}, 255, at::kByte);
    cv::Mat canvas(kLine, static_cast<int>(line.size(1)), CV_8UC3, line.mutable_data_ptr());
    cv::putText(canvas, caption, {kMargin, kLine - 2 * kMargin}, kFont, kSize, {40, 40, 40}, 1,
                cv::LINE_AA);
    return at::cat({line, strip}, 0);
  }

  /// Pictures beside each other, clips below each other.
  void write(std::vector<at::Tensor>& pictures) const {
    if (frames_ > 1) widen(pictures);
    const at::Tensor all = at::cat(pictures, frames_ > 1 ? 0 : 1).contiguous();
    const cv::Mat picture(static_cast<int>(all.size(0)), static_cast<int>(all.size(1)), CV_8UC3,
                          const_cast<void*>(all.const_data_ptr()));
    write_png("--out", settings_.out, picture);
  }

  /// To the widest of them, which a caption can make.
  static void widen(std::vector<at::Tensor>& pictures) {
    int64_t width = 0;
    for (const at::Tensor& each : pictures) width = std::max(width, each.size(1));
    for (at::Tensor& each : pictures) {
      each = at::constant_pad_nd(each, {0, 0, 0, width - each.size(1)}, 255);
    }
  }

  const ShowSettings& settings_;
  Checkpoint checkpoint_;
  int64_t frames_ = 1;
  std::vector<int64_t> blocks_;
  ForwardOptions options_;
  std::unique_ptr<VisionTransformer> model_;
};

void check(const ShowSettings& settings) {
  if (!(settings.from >= 0)) {
    throw Error(ErrorKind::kSettings, "--from: found " + std::to_string(settings.from) +
                                          ", expected seconds from the video's beginning");
  }
  check_png_file("--out", settings.out);
  std::error_code missing;  // reading says so
  if (std::filesystem::equivalent(settings.file, settings.out, missing)) {
    throw Error(ErrorKind::kSettings, "--out: '" + settings.out + "' is what shall be drawn");
  }
}

}  // namespace

void add_show_command(CLI::App& app) {
  auto settings = std::make_shared<ShowSettings>();
  CLI::App* command =
      app.add_subcommand("show", "Draw which patches of a picture or clip become one token");
  add_model_or_shipped(*command, settings->model);
  command->add_option("file", settings->file, "a picture or video")->required();
  command->add_option("--out", settings->out, "the picture to write, a PNG file")
      ->capture_default_str();
  command->add_option("--r", settings->r,
                      "tokens to merge in each block: 0, 13, 16:-1, 16,8,4, keep=0.5; "
                      "default: what the model ships with");
  command->add_option("--after", settings->after,
                      "blocks behind which to look, counted from 1, by commas; default: the last");
  command->add_option("--from", settings->from, "videos: where the clip begins, seconds")
      ->capture_default_str();
  add_size_options(*command, settings->model, "frames of the clip; 0: the model's own");
  add_count(*command, "--frame-stride", settings->frame_stride, 1,
            "videos: every n-th frame enters the clip");
  command->add_option("--precision", settings->precision, "fp32, bf16, fp16 (GPUs) or int8 (CPUs)")
      ->capture_default_str();
  add_forward_options(*command, settings->forward);
  command->callback([settings] {
    check(*settings);
    use_shipped_model(settings->model);
    Show(*settings).run();
  });
}

}  // namespace tome::cli
