#include "vit/model.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <mutex>
#include <optional>
#include <string>

#include "tome_error.h"
#include "vit/attention.h"
#include "vit/cpu_forward.h"
#include "vit/default_arithmetic.h"
#include "vit/first_tokens.h"
#include "vit/host_memory.h"
#include "vit/kernel_forward.h"
#include "vit/linear.h"
#include "vit/token_state.h"

namespace tome {

/// Not in the unnamed namespace, because VisionTransformer::Impl, which has them, is not.
struct ModelBlock {
  NormWeights norm1, norm2;
  Linear qkv, proj, fc1, fc2;
  at::Tensor scale1, scale2;
};

namespace {

at::Tensor layer_norm(const at::Tensor& x, const NormWeights& norm, double eps) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, eps);
}

/// Stochastic depth (Huang et al. 2016): drops residual branches of whole samples with probability
/// `rate` and scales the others up. Every forward draws from a generator of its own: forwards that
/// run side by side would take from LibTorch's global one in whatever order they come.
class DropPath {
 public:
  explicit DropPath(const ForwardOptions& options) {
    if (options.drop_path > 0) random_ = at::make_generator<at::CPUGeneratorImpl>(options.seed);
  }

  at::Tensor operator()(const at::Tensor& branch, double rate) {
    if (rate <= 0) return branch;
    const at::Tensor keep = at::empty({branch.size(0), 1, 1}, at::kFloat)
                                .bernoulli_(1 - rate, random_)
                                .to(branch.options());
    return branch * keep / (1 - rate);
  }

 private:
  at::Generator random_;  // undefined where nothing is dropped
};

/// Rises from zero in the first block to what is asked in the last.
double drop_rate_of_block(const ForwardOptions& options, size_t block, size_t depth) {
  if (depth <= 1) return 0;
  return options.drop_path * static_cast<double>(block) / static_cast<double>(depth - 1);
}

/// x + drop_path(scale * linear(branch)), fused where nothing stands between.
at::Tensor add_branch(const at::Tensor& x, const at::Tensor& branch, const Linear& linear,
                      const at::Tensor& scale, double drop_rate, DropPath& drop_path) {
  if (!scale.defined() && drop_rate <= 0) return linear.forward_add(branch, x);
  at::Tensor out = linear.forward(branch);
  if (scale.defined()) out = out * scale;
  return x + drop_path(out, drop_rate);
}

/// Patch rows of frames to rows of tubelets: [B, T, n, k] -> [B, T / t * n, t * k].
at::Tensor tubelet_rows(const at::Tensor& patches, int64_t tubelet) {
  const int64_t batch = patches.size(0);
  const int64_t frames = patches.size(1);
  const int64_t frame_patches = patches.size(2);
  const int64_t row = patches.size(3);
  if (tubelet == 1) return patches.reshape({batch, frames * frame_patches, row});
  return patches.view({batch, frames / tubelet, tubelet, frame_patches, row})
      .permute({0, 1, 3, 2, 4})
      .reshape({batch, frames / tubelet * frame_patches, tubelet * row});
}

void check_patches(const at::Tensor& patches, const ViTConfig& config) {
  const int64_t frame_patches = config.grid_rows() * config.grid_cols();
  const int64_t row = config.channels * config.patch * config.patch;
  const bool fits = patches.dim() == 4 && patches.size(2) == frame_patches &&
                    patches.size(3) == row && patches.size(1) >= 1 &&
                    (config.frames == 1 || patches.size(1) == config.frames);
  if (fits) return;
  std::string found;
  for (const int64_t size : patches.sizes())
    found += (found.empty() ? "" : ", ") + std::to_string(size);
  throw Error(ErrorKind::kSettings, "patches of shape [" + found + "], expected [batch, " +
                                        (config.frames == 1 ? "T" : std::to_string(config.frames)) +
                                        ", " + std::to_string(frame_patches) + ", " +
                                        std::to_string(row) + "]");
}

void check_r(const ForwardOptions& options, const ViTConfig& config) {
  if (static_cast<int64_t>(options.r.size()) <= config.depth) return;
  throw Error(ErrorKind::kSettings, "r: found " + std::to_string(options.r.size()) +
                                        " numbers, expected at most one for each of " +
                                        std::to_string(config.depth) + " blocks");
}

/// Tokens before block 0: [B, prefix + patch tokens, dim].
at::Tensor embed(const at::Tensor& patches, const ViTConfig& config, const ViTWeights& weights,
                 const Linear& patch_embed) {
  const int64_t batch = patches.size(0);
  const int64_t prefix = config.prefix_tokens();
  const int64_t repeats = FirstTokens(config, patches.size(1)).joint_frames;
  at::Tensor x = patch_embed.forward(tubelet_rows(
      patches.to(weights.patch_embed.weight.device(), weights.patch_embed.weight.scalar_type()),
      config.tubelet));
  at::Tensor position = weights.pos_embed.narrow(0, prefix, config.patch_tokens());
  if (repeats > 1) position = position.repeat({repeats, 1});
  x = x + position;
  if (prefix > 0) {
    const at::Tensor first = weights.prefix + weights.pos_embed.narrow(0, 0, prefix);
    x = at::cat({first.unsqueeze(0).expand({batch, -1, -1}), x}, 1);
  }
  if (weights.pre_norm.weight.defined()) x = layer_norm(x, weights.pre_norm, config.norm_eps);
  return x;
}

at::Tensor pool(const at::Tensor& x, const TokenState& tokens, const ViTConfig& config) {
  if (config.pooling == Pooling::kToken) return x.select(1, 0);
  const at::Tensor mean = tokens.mean_of_patches(x, config.weighted_pool);
  return config.pooling == Pooling::kMean ? mean : at::cat({x.select(1, 0), mean}, 1);
}

at::Tensor classify(at::Tensor x, const TokenState& tokens, const ViTConfig& config,
                    const ViTWeights& weights, const Linear& head, const Linear& head_dist) {
  const int64_t prefix = config.prefix_tokens();
  if (config.pooling == Pooling::kToken) x = x.narrow(1, 0, prefix);  // the rest is not looked at
  if (config.final_norm) x = layer_norm(x, weights.norm, config.norm_eps);
  at::Tensor pooled = pool(x, tokens, config);
  if (config.fc_norm) pooled = layer_norm(pooled, weights.fc_norm, config.fc_norm_eps);
  at::Tensor logits = head.forward(pooled);
  if (config.distilled_head) logits = (logits + head_dist.forward(x.select(1, 1))) / 2;
  return logits.to(at::kFloat);
}

}  // namespace

struct VisionTransformer::Impl {
  ViTWeights weights;
  /// As they came, until `cpu` is made: in bf16 it keeps norms, biases and positions in float32.
  std::optional<ViTWeights> unrounded;
  Linear patch_embed, head, head_dist;
  std::vector<ModelBlock> blocks;
  bool packed = false;
  std::unique_ptr<CpuForward> cpu;  ///< null where `plain` must do
  bool cpu_tried = false;
  std::mutex packing;

  void build() {
    patch_embed = Linear(weights.patch_embed);
    head = Linear(weights.head);
    head_dist = Linear(weights.head_dist);
    blocks.clear();
    for (const BlockWeights& w : weights.blocks) {
      blocks.push_back({w.norm1, w.norm2, Linear(w.qkv), Linear(w.proj), Linear(w.fc1),
                        Linear(w.fc2), w.scale1, w.scale2});
    }
    packed = false;
    cpu.reset();
    cpu_tried = false;
  }

  /// The kernels of ours for these weights, made at the first forward without gradients; null
  /// where there are none. Weights that require a gradient are being trained: a copy would go
  /// stale.
  const CpuForward* cpu_forward(const ViTConfig& config) {
    const std::lock_guard lock(packing);
    bool trained = false;
    for_each_tensor(weights, [&](const at::Tensor& tensor, const WeightPlace&) {
      trained = trained || (tensor.defined() && tensor.requires_grad());
    });
    if (trained) return nullptr;
    if (cpu_tried) return cpu.get();
    const at::Tensor& weight = weights.head.weight;
    if (weight.device().is_cpu() && weight.scalar_type() != at::kDouble) {
      const bool bf16 = weight.scalar_type() == at::kBFloat16;
      cpu = CpuForward::make(config, unrounded ? *unrounded : weights,
                             bf16 ? ProductType::kBf16 : ProductType::kFloat);
    }
    unrounded.reset();
    cpu_tried = true;
    return cpu.get();
  }

  /// The only form of a model in 8 bits: LibTorch's operators have none.
  /// @throws Error kSettings where there are no products in 8 bits
  void make_bytes(const ViTConfig& config, const ViTWeights& from) {
    cpu = CpuForward::make(config, from, ProductType::kInt8);
    if (cpu == nullptr) {
      throw Error(ErrorKind::kSettings,
                  best_cpu_kernels(ProductType::kInt8) == nullptr
                      ? "precision int8 needs a processor with AVX2 and FMA"
                      : "precision int8 is not available for a model of these sizes");
    }
    cpu_tried = true;
  }

  /// Packs once, at the first forward without gradients.
  void pack(int64_t rows) {
    const std::lock_guard lock(packing);
    if (packed || c10::GradMode::is_enabled()) return;
    patch_embed.pack(rows);
    for (ModelBlock& block : blocks) {
      block.qkv.pack(rows);
      block.proj.pack(rows);
      block.fc1.pack(rows);
      block.fc2.pack(rows);
    }
    packed = true;
  }
};

VisionTransformer::VisionTransformer(ViTConfig config, ViTWeights weights, at::Device device,
                                     at::ScalarType precision)
    : config_(std::move(config)),
      device_(device),
      precision_(precision),
      impl_(std::make_unique<Impl>()) {
  if (device.is_cpu() && precision == at::kHalf) {
    throw Error(ErrorKind::kSettings,
                "precision fp16 is not available on the CPU; use fp32, bf16 or int8");
  }
  if (!device.is_cpu() && precision == at::kChar) {
    throw Error(ErrorKind::kSettings, "precision int8 is for the CPU; use bf16, fp16 or fp32");
  }
  if (device.is_cpu()) keep_host_memory();
  if (precision == at::kChar) {
    impl_->make_bytes(config_, weights);
    return;
  }
  if (device.is_cpu() && precision == at::kBFloat16) impl_->unrounded = weights;
  for_each_tensor(weights, [&](at::Tensor& tensor, const WeightPlace&) {
    if (tensor.defined()) tensor = tensor.to(device, precision).contiguous();
  });
  impl_->weights = std::move(weights);
  impl_->build();
}

VisionTransformer::~VisionTransformer() = default;
VisionTransformer::VisionTransformer(VisionTransformer&&) noexcept = default;
VisionTransformer& VisionTransformer::operator=(VisionTransformer&&) noexcept = default;

ViTWeights& VisionTransformer::weights() { return impl_->weights; }

void VisionTransformer::weights_changed() {
  if (precision_ == at::kChar) {
    throw Error(ErrorKind::kSettings, "precision int8 keeps no weights that could change");
  }
  impl_->unrounded.reset();
  impl_->build();
}

ForwardOutput VisionTransformer::forward(const at::Tensor& patches,
                                         const ForwardOptions& options) const {
  const DefaultArithmetic arithmetic;  // helpers have it: a share of theirs must not differ
  check_patches(patches, config_);
  check_r(options, config_);
  const bool on_kernels = kernels_apply(patches, options) && patches.size(0) > 0;
  if (precision_ == at::kChar) {
    if (on_kernels) return forward_on_kernels(*impl_->cpu, config_, patches, options);
    throw Error(ErrorKind::kSettings,
                "precision int8 knows the usual way to merge alone, no traces, no gradients and no "
                "empty batches");
  }
  if (on_kernels) {
    if (const CpuForward* cpu = impl_->cpu_forward(config_)) {
      return forward_on_kernels(*cpu, config_, patches, options);
    }
  }
  return forward_on_operators(patches, options);
}

ForwardOutput VisionTransformer::forward_on_operators(const at::Tensor& patches,
                                                      const ForwardOptions& options) const {
  const int64_t batch = patches.size(0);
  const FirstTokens first(config_, patches.size(1));
  impl_->pack(batch * first.count());
  at::Tensor x = embed(patches, config_, impl_->weights, impl_->patch_embed);

  TokenState tokens(config_, batch, first, is_proportional(options.prop_attn, config_), x.device());
  ForwardOutput output;
  output.tokens_in = x.size(1);
  if (options.static_threshold >= 0 && patches.size(1) > 1) {
    x = tokens.merge_static(x, tubelets_of(patches, config_.tubelet), options);
  }
  const int64_t left = x.size(1) - first.prefix;
  DropPath drop_path(options);
  for (size_t i = 0; i < impl_->blocks.size(); ++i) {
    const ModelBlock& block = impl_->blocks[i];
    const double drop_rate = drop_rate_of_block(options, i, impl_->blocks.size());
    const at::Tensor before = x;
    const Heads heads =
        split_heads(block.qkv.forward(layer_norm(x, block.norm1, config_.norm_eps)), config_.heads);
    x = add_branch(x, attention(heads, tokens.log_weight()), block.proj, block.scale1, drop_rate,
                   drop_path);

    const int64_t asked = asked_of_block(options, i, left, output.tokens_in - first.prefix);
    at::Tensor metric;
    if (asked > 0 || options.trace) {
      metric = options.method == MergeMethod::kAttentionPrune
                   ? first_token_attention(heads)
                   : merge_metric(options.metric, heads, before, x);
    }
    const int64_t tokens_before = x.size(1);
    x = tokens.merge(x, metric, asked, options, static_cast<int64_t>(i));
    output.r.push_back(tokens_before - x.size(1));

    x = add_branch(
        x, block.fc1.forward(layer_norm(x, block.norm2, config_.norm_eps), config_.activation),
        block.fc2, block.scale2, drop_rate, drop_path);
    if (options.trace) output.trace.push_back({x, metric, tokens.sizes()});
  }
  output.tokens_out = x.size(1);
  output.logits = classify(x, tokens, config_, impl_->weights, impl_->head, impl_->head_dist);
  output.size = tokens.merged() ? tokens.sizes() : at::Tensor();
  if (options.track_source) output.source = tokens.source();
  return output;
}

ForwardOutput VisionTransformer::forward_pixels(const at::Tensor& pixels,
                                                const ForwardOptions& options) const {
  const at::Tensor clips = pixels.dim() == 4 ? pixels.unsqueeze(2) : pixels;
  if (clips.dim() != 5 || clips.size(1) != config_.channels ||
      clips.size(3) != config_.image_height || clips.size(4) != config_.image_width) {
    throw Error(ErrorKind::kSettings, "pixels: found " + c10::str(pixels.sizes()) +
                                          ", expected [B, 3, H, W] or [B, 3, T, H, W] with H x W " +
                                          std::to_string(config_.image_height) + " x " +
                                          std::to_string(config_.image_width));
  }
  return forward(patchify(clips, config_.patch), options);
}

at::Tensor tubelets_of(const at::Tensor& patches, int64_t tubelet) {
  return tubelet_rows(patches, tubelet)
      .view({patches.size(0), patches.size(1) / tubelet, patches.size(2), -1});
}

at::Tensor patchify(const at::Tensor& pixels, int64_t patch) {
  const int64_t batch = pixels.size(0);
  const int64_t channels = pixels.size(1);
  const int64_t frames = pixels.size(2);
  const int64_t rows = pixels.size(3) / patch;
  const int64_t cols = pixels.size(4) / patch;
  return pixels.narrow(3, 0, rows * patch)
      .narrow(4, 0, cols * patch)
      .reshape({batch, channels, frames, rows, patch, cols, patch})
      .permute({0, 2, 3, 5, 1, 4, 6})  // [B, T, rows, cols, C, p, p]
      .reshape({batch, frames, rows * cols, channels * patch * patch});
}

}  // namespace tome
