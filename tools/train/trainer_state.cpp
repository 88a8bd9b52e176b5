// What a run leaves for the next one to go on from: weights, moments and averages, and the settings
// that both must have.
#include <ATen/ATen.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "checkpoint/safetensors.h"
#include "merging/partition_names.h"
#include "tome_error.h"
#include "train/trainer.h"

namespace tome::train {
namespace {

/// What differs between the settings of two runs, for an error message.
std::string differences(const RunSettings& found, const RunSettings& expected) {
  RunSettings all = found;
  all.insert(expected.begin(), expected.end());
  const auto value = [](const RunSettings& of, const std::string& name) {
    const auto at = of.find(name);
    return at == of.end() ? std::string("nothing") : "'" + at->second + "'";
  };
  std::string text;
  for (const auto& [name, ignored] : all) {
    const std::string there = value(found, name);
    const std::string here = value(expected, name);
    if (there == here) continue;
    text += (text.empty() ? "" : ", ") + name + ": found " + there + ", this run has " + here;
  }
  return text;
}

}  // namespace

RunSettings Trainer::settings(const BatchSource& source) const {
  const ViTConfig& c = checkpoint_.config;
  const TrainOptions& o = options_;
  const std::string partition = o.partition ? name_of(*o.partition) : "auto";
  RunSettings out = source.settings();
  out.merge(RunSettings{{"r", o.r},
                        {"lr", exact(o.learning_rate)},
                        {"final-share", exact(o.final_share)},
                        {"warmup", std::to_string(o.warmup_steps)},
                        {"label-smoothing", exact(o.label_smoothing)},
                        {"drop-path", exact(o.drop_path)},
                        {"layer-decay", exact(o.layer_decay)},
                        {"mixup", exact(o.mixup)},
                        {"motion-loss", exact(o.motion_loss)},
                        {"unmerged-share", exact(o.unmerged_share)},
                        {"partition", o.mixed_partitions ? "mixed" : partition},
                        {"precision", o.bf16 ? "bf16" : "fp32"},
                        {"device", at::Device(o.device).is_cuda() ? "cuda" : "cpu"},
                        {"workers", std::to_string(o.workers)},
                        {"seed", std::to_string(o.seed)},
                        {"init", o.init},
                        {"init-hash", o.init_hash},
                        {"init-config-hash", o.init_config_hash},
                        {"class-token", c.class_token ? "yes" : "no"},
                        {"weight-decay", exact(o.optimizer.weight_decay)},
                        {"ema", exact(o.optimizer.ema)}});
  const std::pair<const char*, int64_t> shape[] = {
      {"frames", c.frames}, {"tubelet", c.tubelet}, {"size", c.image_height},
      {"patch", c.patch},   {"dim", c.dim},         {"depth", c.depth},
      {"heads", c.heads},   {"mlp", c.mlp_hidden},  {"classes", c.classes}};
  for (const auto& [name, value] : shape) out[name] = std::to_string(value);
  for (const std::string& label : checkpoint_.labels) out["labels"] += label + ' ';
  return out;
}

void Trainer::save(int64_t step, const RunSettings& settings) const {
  std::map<std::string, at::Tensor> tensors;
  optimizer_->save(tensors);
  RunSettings metadata{{"step", std::to_string(step)}};
  for (const auto& [name, value] : settings) metadata["run." + name] = value;
  write_safetensors(folder_ / "state.safetensors", tensors, metadata);
}

int64_t Trainer::resume(const RunSettings& settings) {
  const std::filesystem::path path = folder_ / "state.safetensors";
  if (!std::filesystem::exists(path)) return 0;
  const SafetensorsFile file = SafetensorsFile::open(path);
  RunSettings found;
  for (const auto& [name, value] : file.metadata()) {
    if (name.starts_with("run.")) found[name.substr(4)] = value;
  }
  const std::string remedy = "; remove it or choose another --out";
  std::string other = differences(found, settings);
  if (found.empty()) other = "it names none: another version wrote it";
  if (!other.empty()) {
    throw Error(
        ErrorKind::kSettings,
        "'" + path.string() + "' belongs to a run with other settings (" + other + ")" + remedy);
  }
  const auto metadata = file.metadata().find("step");
  const std::string text = metadata == file.metadata().end() ? "" : metadata->second;
  int64_t step = -1;
  const char* end = text.data() + text.size();
  if (std::from_chars(text.data(), end, step).ptr != end || step < 0) {
    throw Error(ErrorKind::kFormat, "'" + path.string() + "': found the step '" + text +
                                        "', expected the number of steps done" + remedy);
  }
  std::map<std::string, at::Tensor> tensors;
  for (const std::string& name : file.names()) tensors[name] = file.tensor(name);
  optimizer_->load(tensors, path.string(), step);
  return step;
}

}  // namespace tome::train
