#include <ATen/ATen.h>

#include <map>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_spec.h"
#include "checkpoint/preprocess_config.h"
#include "checkpoint/replace_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tome_spec.h"
#include "tome_error.h"

namespace tome {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, at::Tensor>;

void add(Tensors& out, const std::string& name, const NormWeights& norm) {
  out[name + ".weight"] = norm.weight;
  out[name + ".bias"] = norm.bias;
}

void add(Tensors& out, const std::string& name, const LinearWeights& linear) {
  out[name + ".weight"] = linear.weight;
  if (linear.bias.defined()) out[name + ".bias"] = linear.bias;
}

void add_embedding(Tensors& out, const ViTConfig& config, const ViTWeights& weights) {
  const int64_t side = config.patch;
  LinearWeights patch = weights.patch_embed;
  patch.weight = patch.weight.reshape({config.dim, config.tubelet, 3, side, side});
  patch.weight = config.tubelet == 1 ? patch.weight.squeeze(1) : patch.weight.transpose(1, 2);
  add(out, "patch_embed.proj", patch);
  int64_t row = 0;
  const auto token = [&](const char* name, int64_t count) {
    out[name] = weights.prefix.slice(0, row, row + count).unsqueeze(0);
    row += count;
  };
  if (config.class_token) token("cls_token", 1);
  if (config.distill_token) token("dist_token", 1);
  if (config.registers > 0) token("reg_token", config.registers);
  out["pos_embed"] =
      weights.pos_embed.slice(0, config.pos_embed_prefix ? 0 : config.prefix_tokens()).unsqueeze(0);
}

Tensors tensors_of(const Checkpoint& checkpoint) {
  const ViTConfig& config = checkpoint.config;
  const ViTWeights& weights = checkpoint.weights;
  Tensors out;
  add_embedding(out, config, weights);
  if (config.pre_norm) add(out, "norm_pre", weights.pre_norm);
  for (size_t i = 0; i < weights.blocks.size(); ++i) {
    const BlockWeights& block = weights.blocks[i];
    const std::string name = "blocks." + std::to_string(i);
    add(out, name + ".norm1", block.norm1);
    add(out, name + ".attn.qkv", block.qkv);
    add(out, name + ".attn.proj", block.proj);
    add(out, name + ".norm2", block.norm2);
    add(out, name + ".mlp.fc1", block.fc1);
    add(out, name + ".mlp.fc2", block.fc2);
    if (block.scale1.defined()) {
      out[name + ".ls1.gamma"] = block.scale1;
      out[name + ".ls2.gamma"] = block.scale2;
    }
  }
  if (config.final_norm) add(out, "norm", weights.norm);
  if (config.fc_norm) add(out, "fc_norm", weights.fc_norm);
  add(out, "head", weights.head);
  if (config.distilled_head) add(out, "head_dist", weights.head_dist);
  return out;
}

nlohmann::ordered_json config_json(const Checkpoint& checkpoint) {
  ModelSpec spec;
  spec.config = checkpoint.config;
  spec.patch_bias = checkpoint.weights.patch_embed.bias.defined();
  if (!checkpoint.weights.blocks.empty()) {
    spec.qkv_bias = checkpoint.weights.blocks[0].qkv.bias.defined();
    spec.layer_scale = checkpoint.weights.blocks[0].scale1.defined();
  }
  auto json = tome_spec_json(spec);
  json["tome_r"] = checkpoint.default_schedule;
  json["problem_type"] =
      checkpoint.activation == ScoreActivation::kSigmoid   ? "multi_label_classification"
      : checkpoint.activation == ScoreActivation::kSoftmax ? "single_label_classification"
                                                           : "regression";
  json["preprocess"] = preprocess_json(checkpoint.preprocess);
  if (!checkpoint.labels.empty()) json["label_names"] = checkpoint.labels;
  return json;
}

}  // namespace

void save_checkpoint(const Checkpoint& checkpoint, const fs::path& folder, at::ScalarType dtype) {
  if (!at::isFloatingType(dtype)) {
    throw Error(ErrorKind::kSettings, std::string("save_checkpoint: dtype ") +
                                          c10::toString(dtype) + ", expected a floating one");
  }
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) {
    throw Error(ErrorKind::kFailed, folder.string() + ": cannot be made: " + ec.message());
  }
  // Before anything is written: it fails where a text is not UTF-8.
  const std::string config = config_json(checkpoint).dump(2) + "\n";
  Tensors tensors = tensors_of(checkpoint);
  for (auto& [name, tensor] : tensors) tensor = tensor.detach().to(dtype).contiguous();
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  replace_file(folder / "config.json",
               [&](const ByteSink& write) { write(config.data(), config.size()); });
}

}  // namespace tome
