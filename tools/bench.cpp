// `tome bench`: how long forwards take, and what merging makes of it.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "architectures.h"
#include "bench_group.h"
#include "checkpoint/checkpoint.h"
#include "commands.h"
#include "device_forward.h"
#include "engine/device.h"
#include "forward_cost.h"
#include "forward_settings.h"
#include "model_settings.h"
#include "plain_vit.h"
#include "schedule_option.h"
#include "tome_error.h"
#include "vit/cpu_profile.h"
#include "vit/model.h"
#include "vit/token_geometry.h"

namespace tome::cli {
namespace {

struct BenchSettings {
  std::string model, arch, batch = "1", precision = "fp32";
  std::vector<std::string> r{"0,8,13,16"};
  int64_t repeats = 9, warmup = 2, clip_length = 0;
  bool compare_torch = false, json = false, profile = false;
  ForwardSettings forward;
};

/// What runs the forwards of one precision: our CUDA kernels where they can, else LibTorch's
/// operators.
struct Engines {
  std::optional<DeviceForward> fused;
  std::optional<VisionTransformer> model;
  std::optional<PlainViT> plain;

  Engines(const Checkpoint& checkpoint, at::Device device, at::ScalarType precision,
          const BenchSettings& settings) {
    const ForwardOptions options =
        forward_options(settings.forward, checkpoint.config, checkpoint.preprocess);
    const std::string reason = why_no_device_forward(checkpoint.config, options, device, precision);
    if (reason.empty()) fused.emplace(checkpoint, device, precision);
    if (device.is_cuda() && (!fused || settings.compare_torch)) require_libtorch(device);
    if (!fused) model.emplace(checkpoint.config, checkpoint.weights, device, precision);
    if (settings.compare_torch) {
      plain.emplace(checkpoint.config, checkpoint.weights, device, precision);
    }
  }

  bool needs_libtorch() const { return model || plain; }

  void prepare(Contender& contender, const at::Tensor& patches, const ForwardOptions& options) {
    if (model) {
      contender.run = [this, patches, options] { return model->forward(patches, options).logits; };
      return;
    }
    const BatchInput input = fused->make_input(patches.size(0), patches.size(1), options);
    contender.fused = true;
    contender.run = [this, input] { return fused->run(input); };
    contender.operations = [this, input] { return fused->operations(input); };
  }
};

class Bench {
 public:
  explicit Bench(const BenchSettings& settings)
      : settings_(settings),
        threads_(use_threads(settings.forward.threads)),
        device_(asked_device(settings.forward.device)),
        checkpoint_(load(settings)),
        frames_(frames_per_request(checkpoint_.config, settings.clip_length)),
        geometry_(token_geometry(checkpoint_.config, frames_)) {
    specs_ = split_specs(settings.r, checkpoint_.default_schedule);
    std::erase(specs_, "0");
    specs_.insert(specs_.begin(), "0");  // what every ratio is to
    for (const auto& spec : specs_) asked_r(spec, geometry_);
    batches_ = parse_counts(settings.batch, "--batch");
    precisions_ = split(settings.precision, ',');
    for (const auto& precision : precisions_) {
      if (parse_precision(precision) == at::kChar && settings.compare_torch) {
        throw Error(ErrorKind::kSettings, "--compare-torch: plain PyTorch has no int8");
      }
    }
    if (settings.compare_torch && frames_ != checkpoint_.config.frames) {
      throw Error(ErrorKind::kSettings, "--compare-torch: plain PyTorch has no --clip-length");
    }
    const bool may_change = is_auto(settings.forward.device) && device_.is_cuda();
    if (may_change && needs_libtorch() && !why_no_libtorch_cuda().empty()) device_ = at::kCPU;
  }

  void run() {
    const c10::InferenceMode inference;
    auto rows = nlohmann::ordered_json::array();
    if (!settings_.json) print_header();
    for (const auto& precision : precisions_) {
      Engines engines(checkpoint_, device_, parse_precision(precision), settings_);
      for (const int64_t batch : batches_) {
        Group group = make_group(engines, precision, batch);
        measure(group, settings_.warmup, settings_.repeats);
        for (const Contender& contender : group.contenders) {
          if (settings_.json) {
            rows.push_back(to_json(group, contender));
          } else {
            print_row(group, contender);
          }
        }
      }
    }
    if (settings_.json) std::cout << rows.dump(2) << std::endl;
  }

 private:
  bool needs_libtorch() const {
    const ForwardOptions options =
        forward_options(settings_.forward, checkpoint_.config, checkpoint_.preprocess);
    const auto is_not_fused = [&](const std::string& precision) {
      return !why_no_device_forward(checkpoint_.config, options, device_,
                                    parse_precision(precision))
                  .empty();
    };
    return settings_.compare_torch || std::ranges::any_of(precisions_, is_not_fused);
  }

  static Checkpoint load(const BenchSettings& settings) {
    if (settings.model.empty() == settings.arch.empty()) {
      throw Error(ErrorKind::kSettings, "tome bench: expected either --model or --arch");
    }
    if (!settings.arch.empty()) return random_checkpoint(settings.arch, settings.forward.seed);
    return load_model({.folder = settings.model, .clip_length = settings.clip_length});
  }

  Group make_group(Engines& engines, const std::string& precision, int64_t batch) const {
    const ViTConfig& config = checkpoint_.config;
    at::manual_seed(settings_.forward.seed);
    const at::Tensor patches = at::randn({batch, frames_, config.grid_rows() * config.grid_cols(),
                                          config.channels * config.patch * config.patch});
    const at::Tensor there = engines.needs_libtorch() ? patches.to(device_) : patches;
    Group group{precision, batch, {}};
    for (const auto& spec : specs_) {
      ForwardOptions options = forward_options(settings_.forward, config, checkpoint_.preprocess);
      options.r = asked_r(spec, geometry_);
      Contender contender;
      contender.engine = "tome";
      contender.spec = spec;
      contender.effective = effective_r(options.r, geometry_);
      contender.gflops = forward_gflops(config, contender.effective, frames_);
      contender.tokens_last = geometry_.tokens;
      for (const int64_t r : contender.effective) contender.tokens_last -= r;
      if (settings_.profile && !engines.fused) contender.profile = std::make_shared<CpuProfile>();
      engines.prepare(contender, there, options);
      group.contenders.push_back(std::move(contender));
    }
    if (engines.plain) {
      Contender contender = group.contenders.front();
      contender.engine = "torch";
      contender.profile.reset();
      contender.fused = false;
      contender.operations = nullptr;
      contender.run = [&engines, there] { return engines.plain->forward(there); };
      group.contenders.push_back(std::move(contender));
    }
    return group;
  }

  /// Ratios to the unmerged run and to plain PyTorch of the same group.
  struct Ratios {
    double speedup = 1, flops_saved = 1;
    std::optional<double> speedup_torch;
  };

  static Ratios ratios(const Group& group, const Contender& contender) {
    const Contender& unmerged = group.contenders.front();
    Ratios result{unmerged.median() / contender.median(), unmerged.gflops / contender.gflops, {}};
    if (group.contenders.back().engine == "torch") {
      result.speedup_torch = group.contenders.back().median() / contender.median();
    }
    return result;
  }

  nlohmann::ordered_json to_json(const Group& group, const Contender& contender) const {
    const Ratios ratio = ratios(group, contender);
    const auto batch = static_cast<double>(group.batch);
    nlohmann::ordered_json row;
    row["engine"] = contender.engine;
    row["model"] = checkpoint_.config.name;
    row["frames"] = frames_;
    row["tokens"] = geometry_.tokens;
    row["tokens_last"] = contender.tokens_last;
    row["batch"] = group.batch;
    row["threads"] = threads_;
    row["device"] = device_.str();
    if (device_.is_cuda()) {
      row["device_name"] = cuda_device_name(device_.index());
      row["kernels"] = contender.fused ? "fused" : "libtorch";
    }
    if (const char* most = std::getenv("TOME_MAX_CPU_ISA")) row["max_cpu_isa"] = most;
    row["precision"] = group.precision;
    row["r"] = contender.spec;
    row["r_per_block"] = contender.effective;
    row.update(tome::cli::to_json(settings_.forward));
    row["ms_median"] = contender.median();
    row["ms_min"] = contender.ms.front();
    row["ms_max"] = contender.ms.back();
    row["repeats"] = contender.ms.size();
    row["images_per_s"] = 1000 * batch / contender.median();
    row["gflops"] = contender.gflops;
    row["gflops_per_s"] = 1000 * contender.gflops * batch / contender.median();
    row["speedup"] = ratio.speedup;
    row["flops_saved"] = ratio.flops_saved;
    row["speedup_over_flops_saved"] = ratio.speedup / ratio.flops_saved;
    if (ratio.speedup_torch) row["speedup_torch"] = *ratio.speedup_torch;
    if (contender.profile) {
      for (const auto& [name, ms] : profile_ms(contender)) row["profile_ms"][name] = ms;
    }
    if (settings_.profile && contender.operations) {
      for (const OperationTime& operation : contender.operations()) {
        row["operations"].push_back(
            {{"name", operation.name}, {"calls", operation.calls}, {"ms", operation.milliseconds}});
      }
    }
    if (contender.engine == "torch" && !group.contenders.front().fused) {
      // The two must compute the same, or the ratio means nothing.
      row["max_logit_difference"] =
          (contender.logits - group.contenders.front().logits).abs().max().item<double>();
    }
    return row;
  }

  /// Milliseconds of one forward by phase. Matching is a part of the attention's time, shared by
  /// the threads.
  std::vector<std::pair<std::string, double>> profile_ms(const Contender& contender) const {
    const double forwards = 1e6 * static_cast<double>(contender.ms.size());
    std::vector<std::pair<std::string, double>> phases;
    for (size_t i = 0; i < CpuProfile::kNames.size(); ++i) {
      phases.emplace_back(CpuProfile::kNames[i],
                          static_cast<double>(contender.profile->ns[i]) / forwards);
    }
    phases.emplace_back("matching, in attention",
                        static_cast<double>(contender.profile->matching_ns) / forwards / threads_);
    return phases;
  }

  void print_header() const {
    const std::string merging = unusual(settings_.forward);
    std::cout << checkpoint_.config.name << ", " << geometry_.tokens << " tokens, " << device_.str()
              << ", " << threads_ << " threads, median of " << settings_.repeats
              << " interleaved runs" << (merging.empty() ? "" : "\nmerging: ") << merging << "\n"
              << "speed-up is over r=0 of the same run; 'of FLOPs' is speed-up over FLOPs saved\n"
              << std::left << std::setw(7) << "engine" << std::setw(6) << "prec" << std::right
              << std::setw(6) << "batch"
              << "  " << std::left << std::setw(12) << "r" << std::right << std::setw(7) << "tokens"
              << std::setw(10) << "ms" << std::setw(20) << "min..max" << std::setw(10) << "inputs/s"
              << std::setw(9) << "GFLOPs" << std::setw(10) << "speed-up" << std::setw(10)
              << "of FLOPs" << std::setw(10) << "torch x" << std::endl;
  }

  void print_row(const Group& group, const Contender& contender) const {
    const Ratios ratio = ratios(group, contender);
    const auto fixed = [](double value, int digits) {
      std::ostringstream text;
      text << std::fixed << std::setprecision(digits) << value;
      return text.str();
    };
    std::cout << std::left << std::setw(7) << contender.engine << std::setw(6) << group.precision
              << std::right << std::setw(6) << group.batch << "  " << std::left << std::setw(12)
              << contender.spec << std::right << std::setw(7) << contender.tokens_last
              << std::setw(10) << fixed(contender.median(), 2) << std::setw(20)
              << fixed(contender.ms.front(), 2) + ".." + fixed(contender.ms.back(), 2)
              << std::setw(10)
              << fixed(1000 * static_cast<double>(group.batch) / contender.median(), 2)
              << std::setw(9) << fixed(contender.gflops, 2) << std::setw(10)
              << fixed(ratio.speedup, 3) << std::setw(10)
              << fixed(ratio.speedup / ratio.flops_saved, 3) << std::setw(10)
              << (ratio.speedup_torch ? fixed(*ratio.speedup_torch, 3) : "-") << std::endl;
    if (contender.profile) {
      std::cout << "        mean ms:";
      for (const auto& [name, ms] : profile_ms(contender)) {
        std::cout << " " << name << " " << fixed(ms, 2) << ";";
      }
      std::cout << std::endl;
    }
    if (!settings_.profile || !contender.operations) return;
    for (const OperationTime& operation : contender.operations()) {
      std::cout << std::right << std::setw(42) << fixed(operation.milliseconds, 4) << " ms in "
                << operation.calls << " x " << operation.name << std::endl;
    }
  }

  const BenchSettings& settings_;
  int threads_;
  at::Device device_;
  Checkpoint checkpoint_;
  int64_t frames_;
  TokenGeometry geometry_;
  std::vector<std::string> specs_, precisions_;
  std::vector<int64_t> batches_;
};

}  // namespace

void add_bench_command(CLI::App& app) {
  auto settings = std::make_shared<BenchSettings>();
  CLI::App* command = app.add_subcommand(
      "bench", "Latency and throughput by batch, r and precision, in interleaved runs");
  command->add_option("--model", settings->model, "model folder in Hugging Face layout");
  std::string known;
  for (const auto& name : architecture_names()) known += (known.empty() ? "" : ", ") + name;
  command->add_option("--arch", settings->arch, "random weights instead: " + known);
  command
      ->add_option("--r", settings->r,
                   "schedules by commas, by semicolons where one is a per-block list, or one for "
                   "each --r; 'model' is the one it ships with, 0 is always measured")
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--batch", settings->batch, "inputs of one forward, or several by commas")
      ->capture_default_str();
  command
      ->add_option("--precision", settings->precision,
                   "fp32, bf16, fp16 (GPUs), int8 (CPUs), or several by commas")
      ->capture_default_str();
  command->add_option("--repeats", settings->repeats, "timed runs of each")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--warmup", settings->warmup, "runs of each before")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20))
      ->capture_default_str();
  command
      ->add_option("--clip-length", settings->clip_length,
                   "frames of one input; 0: the model's own")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command->add_flag("--compare-torch", settings->compare_torch,
                    "also time the unmerged model in plain PyTorch operations");
  command->add_flag(
      "--profile", settings->profile,
      "also where the time goes, in the CPU's own kernels or in those of a CUDA device");
  command->add_flag("--json", settings->json, "one array of objects");
  add_forward_options(*command, settings->forward);
  command->get_option("--static")->group("");  // not in --help
  command->callback([settings] {
    if (settings->forward.static_threshold >= 0) {
      throw Error(ErrorKind::kSettings,
                  "--static: found with bench, expected without: in noise, which it measures on, "
                  "nothing stays as it is; tome eval measures it on clips");
    }
    Bench(*settings).run();
  });
}

}  // namespace tome::cli
