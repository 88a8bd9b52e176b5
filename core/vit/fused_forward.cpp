#include "vit/fused_forward.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "cuda/element_type.h"
#include "merging/partition.h"
#include "merging/schedule.h"

namespace tome {
namespace {

ProductActivation activation_of(Activation activation, cuda::ElementType type) {
  switch (activation) {
    case Activation::kRelu:
      return ProductActivation::kRelu;
    case Activation::kGelu:
      return type == cuda::ElementType::kFloat32 ? ProductActivation::kGelu
                                                 : ProductActivation::kGeluTanh;
    default:
      return ProductActivation::kGeluTanh;
  }
}

}  // namespace

FusedForward::FusedForward(const FusedWeights& weights, FusedShape shape)
    : weights_(weights), shape_(std::move(shape)), prefix_(weights.config.prefix_tokens()) {
  const ViTConfig& config = weights_.config;
  tokens_.push_back(prefix_ + config.patch_tokens() * shape_.joint_frames);
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    const int64_t asked = i < shape_.r.size() ? shape_.r[i] : 0;
    const int64_t tokens = tokens_.back();
    const int n_a = halves_view(shape_.partition, prefix_, tokens).n_a;
    r_.push_back(std::min<int64_t>(capped_r(asked, tokens, prefix_), n_a));
    tokens_.push_back(tokens - r_.back());
  }
  at_ = lay_out(weights_, shape_, tokens_, r_);
}

bool FusedForward::by_grid() const {
  return knows_grid(shape_.partition) && tokens_.back() < tokens_.front();
}

bool FusedForward::splits(size_t block) const { return by_grid() && r_[block] > 0; }

int FusedForward::qkv_columns(size_t block) const {
  const auto columns = 3 * weights_.config.dim + (r_[block] > 0 ? weights_.head_dim() : 0);
  return static_cast<int>(columns);
}

ProductRequest FusedForward::product_of(const FusedLinear& linear, const void* a,
                                        int64_t rows) const {
  ProductRequest q;
  q.type = weights_.type;
  q.a = a;
  q.a_stride = q.depth = linear.in;
  q.weight = linear.weight;
  q.bias = linear.bias;
  q.out_stride = q.columns = linear.out;
  q.rows = rows;
  return q;
}

void FusedForward::linear(FusedOps& ops, const FusedLinear& linear, const void* a, int64_t rows,
                          const void* residual, void* out, ProductActivation activation) const {
  ProductRequest q = product_of(linear, a, rows);
  q.out_type = weights_.type;
  q.residual = residual;
  q.out = out;
  q.activation = activation;
  ops.product(q);
}

void FusedForward::normalise(FusedOps& ops, const void* x, int64_t tokens, const FusedNorm& norm,
                             double eps, void* out, bool split_follows) const {
  cuda::MergeRequest q;
  q.type = weights_.type;
  q.x = x;
  q.norm_weight = norm.weight;
  q.norm_bias = norm.bias;
  q.norm_out = out;
  q.norm_eps = static_cast<float>(eps);
  q.batch = static_cast<int>(shape_.batch);
  q.tokens_in = q.tokens_out = static_cast<int>(tokens);
  q.channels = static_cast<int>(weights_.config.dim);
  q.split_follows = split_follows;
  ops.merge(q);
}

void FusedForward::write_key_weights(FusedOps& ops, const State& state, const void* patches) const {
  for (size_t i = 0; i < at_.key_weights.size(); ++i) {
    const FusedLayout::KeyWeights& row = at_.key_weights[i];
    if (row.prefix == 1 || (i > 0 && row.at == at_.key_weights[i - 1].at)) continue;
    // An embedding writes such rows. What else it makes, of one channel, goes where the first
    // LayerNorm will be.
    cuda::EmbedRequest q;
    q.type = weights_.type;
    q.patches = patches;
    q.first = weights_.first;
    q.position = weights_.position;
    q.size_out = reinterpret_cast<float*>(state.base + row.at);
    q.prefix_size = row.prefix;
    q.norm_weight = weights_.blocks.front().norm1.weight;
    q.norm_bias = weights_.blocks.front().norm1.bias;
    q.norm_out = state.base + at_.norm;
    q.batch = q.channels = q.cells = 1;
    q.tokens = static_cast<int>(tokens_[i]);
    q.prefix = static_cast<int>(prefix_);
    ops.embed(q);
  }
}

void FusedForward::embed(FusedOps& ops, State& state, const void* patches) const {
  const ViTConfig& config = weights_.config;
  linear(ops, weights_.patch_embed, patches, shape_.batch * patch_rows(), nullptr,
         state.base + at_.embedded);
  const bool pre_norm = weights_.pre_norm.weight != nullptr;
  const FusedNorm& first_norm = pre_norm ? weights_.pre_norm : weights_.blocks.front().norm1;
  unsigned char* x = state.base + at_.x[state.x];
  cuda::EmbedRequest q;
  q.type = weights_.type;
  q.patches = state.base + at_.embedded;
  q.first = weights_.first;
  q.position = weights_.position;
  q.x_out = pre_norm ? nullptr : x;
  if (shape_.proportional && shape_.joint_frames > 1) {
    q.size_out = reinterpret_cast<float*>(state.base + at_.first_size);
    q.prefix_size = static_cast<float>(shape_.joint_frames);
    state.size = q.size_out;
  }
  if (by_grid()) {
    q.parity_out = state.base + at_.parity[state.parity];
    q.grid = {static_cast<int>(config.grid_rows()), static_cast<int>(config.grid_cols()),
              grid_parity(shape_.partition)};
  }
  q.norm_weight = first_norm.weight;
  q.norm_bias = first_norm.bias;
  q.norm_out = pre_norm ? x : state.base + at_.norm;
  q.norm_eps = static_cast<float>(config.norm_eps);
  q.batch = static_cast<int>(shape_.batch);
  q.tokens = static_cast<int>(tokens_in());
  q.prefix = static_cast<int>(prefix_);
  q.cells = static_cast<int>(config.patch_tokens());
  q.channels = static_cast<int>(config.dim);
  ops.embed(q);
  if (pre_norm) {
    normalise(ops, x, tokens_in(), weights_.blocks.front().norm1, config.norm_eps,
              state.base + at_.norm, splits(0));
  }
  // The embedding wrote the parity.
  split(ops, state, 0, pre_norm ? cuda::LaunchOrder::kBesideLast : cuda::LaunchOrder::kInTurn);
}

cuda::HalvesView FusedForward::halves_of(const State& state, size_t block) const {
  cuda::HalvesView halves = halves_view(shape_.partition, prefix_, tokens_[block]);
  if (!by_grid()) return halves;
  halves.a = reinterpret_cast<const int64_t*>(state.base + at_.a);
  halves.b = reinterpret_cast<const int64_t*>(state.base + at_.b);
  halves.a_sample_stride = halves.n_a;
  halves.b_sample_stride = halves.n_b;
  return halves;
}

void FusedForward::split(FusedOps& ops, const State& state, size_t block,
                         cuda::LaunchOrder order) const {
  if (!splits(block)) return;
  cuda::PartitionParams p;
  p.parity = state.base + at_.parity[state.parity];
  p.a = reinterpret_cast<int64_t*>(state.base + at_.a);
  p.b = reinterpret_cast<int64_t*>(state.base + at_.b);
  p.batch = static_cast<int>(shape_.batch);
  p.tokens = static_cast<int>(tokens_[block]);
  p.n_fixed = static_cast<int>(prefix_);
  ops.split(p, order);
}

void FusedForward::match(FusedOps& ops, const State& state, size_t block) const {
  const auto element = static_cast<int64_t>(cuda::element_bytes(weights_.type));
  cuda::MatchRequest q;
  q.metric = state.base + at_.qkv + 3 * weights_.config.dim * element;
  q.type = weights_.type;
  q.token_stride = qkv_columns(block);
  q.sample_stride = q.token_stride * tokens_[block];
  q.batch = static_cast<int>(shape_.batch);
  q.tokens = static_cast<int>(tokens_[block]);
  q.channels = static_cast<int>(weights_.head_dim());
  q.r = static_cast<int>(r_[block]);
  q.halves = halves_of(state, block);
  q.out = {reinterpret_cast<int64_t*>(state.base + at_.target),
           reinterpret_cast<int64_t*>(state.base + at_.from),
           reinterpret_cast<int64_t*>(state.base + at_.to),
           reinterpret_cast<int32_t*>(state.base + at_.member_begin),
           reinterpret_cast<int32_t*>(state.base + at_.members)};
  q.workspace = state.base + at_.match;
  ops.match(q);
}

void FusedForward::attend(FusedOps& ops, const State& state, size_t block) const {
  const ViTConfig& config = weights_.config;
  const auto element = static_cast<int64_t>(cuda::element_bytes(weights_.type));
  cuda::AttentionRequest q;
  q.q = state.base + at_.qkv;
  q.k = state.base + at_.qkv + config.dim * element;
  q.v = state.base + at_.qkv + 2 * config.dim * element;
  q.token_stride = qkv_columns(block);
  q.sample_stride = q.token_stride * tokens_[block];
  q.head_stride = weights_.head_dim();
  q.type = weights_.type;
  if (shape_.proportional && state.size != nullptr) {
    q.key_weight = state.size;
    q.weight_sample_stride = tokens_[block];
  } else if (at_.key_weights[block].prefix != 1) {
    q.key_weight = reinterpret_cast<const float*>(state.base + at_.key_weights[block].at);
  }
  q.out = state.base + at_.attention;
  q.batch = static_cast<int>(shape_.batch);
  q.tokens = static_cast<int>(tokens_[block]);
  q.heads = static_cast<int>(config.heads);
  q.dim = static_cast<int>(weights_.head_dim());
  q.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.dim)));
  ops.attend(q, r_[block] > 0 ? cuda::LaunchOrder::kBesideLast : cuda::LaunchOrder::kInTurn);
}

void FusedForward::merge(FusedOps& ops, State& state, size_t block) const {
  const FusedBlock& w = weights_.blocks[block];
  cuda::MergeRequest q;
  q.type = weights_.type;
  q.x = state.base + at_.x[state.x];
  q.size = state.size;
  q.member_begin = reinterpret_cast<const int32_t*>(state.base + at_.member_begin);
  q.members = reinterpret_cast<const int32_t*>(state.base + at_.members);
  state.x = 1 - state.x;
  q.x_out = state.base + at_.x[state.x];
  q.size_out = reinterpret_cast<float*>(state.base + at_.size[state.next_size]);
  if (by_grid()) {
    q.parity = state.base + at_.parity[state.parity];
    state.parity = 1 - state.parity;
    q.parity_out = state.base + at_.parity[state.parity];
  }
  q.norm_weight = w.norm2.weight;
  q.norm_bias = w.norm2.bias;
  q.norm_out = state.base + at_.norm;
  q.norm_eps = static_cast<float>(weights_.config.norm_eps);
  q.batch = static_cast<int>(shape_.batch);
  q.tokens_in = static_cast<int>(tokens_[block]);
  q.tokens_out = static_cast<int>(tokens_[block + 1]);
  q.channels = static_cast<int>(weights_.config.dim);
  ops.merge(q);
  state.size = q.size_out;
  state.next_size = 1 - state.next_size;
  if (state.source == nullptr) return;
  cuda::SourceParams s;
  s.source = state.tracked ? state.source : nullptr;
  s.target = reinterpret_cast<const int64_t*>(state.base + at_.target);
  s.source_out = state.source;
  s.batch = q.batch;
  s.tokens_0 = static_cast<int>(tokens_in());
  s.tokens_in = q.tokens_in;
  ops.sources(s);
  state.tracked = true;
}

void FusedForward::run_block(FusedOps& ops, State& state, size_t block) const {
  const FusedBlock& w = weights_.blocks[block];
  const double eps = weights_.config.norm_eps;
  const bool merges = r_[block] > 0;
  const int64_t rows = shape_.batch * tokens_[block];
  unsigned char* norm = state.base + at_.norm;
  unsigned char* attention = state.base + at_.attention;
  FusedLinear qkv = w.qkv;
  qkv.out = qkv_columns(block);
  linear(ops, qkv, norm, rows, nullptr, state.base + at_.qkv);
  if (merges) {
    ops.fork();
    match(ops, state, block);
  }
  attend(ops, state, block);
  unsigned char* x = state.base + at_.x[state.x];
  linear(ops, w.proj, attention, rows, x, x);
  if (merges) {
    ops.join();
    merge(ops, state, block);
    x = state.base + at_.x[state.x];
  } else {
    normalise(ops, x, tokens_[block], w.norm2, eps, norm);
  }
  const int64_t rows_out = shape_.batch * tokens_[block + 1];
  unsigned char* hidden = state.base + at_.hidden;
  linear(ops, w.fc1, norm, rows_out, nullptr, hidden,
         activation_of(weights_.config.activation, weights_.type));
  linear(ops, w.fc2, hidden, rows_out, x, x);
  if (block + 1 < weights_.blocks.size()) {
    normalise(ops, x, tokens_[block + 1], weights_.blocks[block + 1].norm1, eps, norm,
              splits(block + 1));
    split(ops, state, block + 1, cuda::LaunchOrder::kBesideLast);
  }
}

cuda::PoolRequest FusedForward::pool_request(const State& state) const {
  cuda::PoolRequest q;
  q.type = weights_.type;
  q.x = state.base + at_.x[state.x];
  q.out = state.base + at_.pooled;
  q.batch = static_cast<int>(shape_.batch);
  q.tokens = static_cast<int>(tokens_out());
  q.channels = static_cast<int>(weights_.config.dim);
  q.out_stride = static_cast<int>(weights_.config.head_inputs());
  return q;
}

const void* FusedForward::pool(FusedOps& ops, const State& state, const cuda::PoolRequest& request,
                               const FusedNorm* norm, double eps) const {
  ops.pool(request);
  if (norm == nullptr) return state.base + at_.pooled;
  normalise(ops, state.base + at_.pooled, 1, *norm, eps, state.base + at_.pooled_norm);
  return state.base + at_.pooled_norm;
}

void FusedForward::head(FusedOps& ops, const FusedLinear& linear, const void* pooled, float* logits,
                        bool add) const {
  ProductRequest q = product_of(linear, pooled, shape_.batch);
  q.out_type = cuda::ElementType::kFloat32;
  q.residual = add ? logits : nullptr;
  q.out = logits;
  ops.product(q);
}

void FusedForward::classify(FusedOps& ops, const State& state, float* logits) const {
  const ViTConfig& config = weights_.config;
  cuda::PoolRequest q = pool_request(state);
  if (config.pooling == Pooling::kToken) {
    const FusedNorm* norm = config.final_norm ? &weights_.norm : nullptr;
    head(ops, weights_.head, pool(ops, state, q, norm, config.norm_eps), logits, false);
    if (!config.distilled_head) return;
    q.first = 1;
    head(ops, weights_.head_dist, pool(ops, state, q, norm, config.norm_eps), logits, true);
    return;
  }
  if (config.final_norm) {
    normalise(ops, q.x, tokens_out(), weights_.norm, config.norm_eps, state.base + at_.norm);
    q.x = state.base + at_.norm;
  }
  if (config.pooling == Pooling::kTokenAndMean) {
    ops.pool(q);
    q.out = state.base + at_.pooled +
            config.dim * static_cast<int64_t>(cuda::element_bytes(weights_.type));
  }
  q.first = static_cast<int>(prefix_);
  q.count = static_cast<int>(tokens_out() - prefix_);
  q.size = config.weighted_pool ? state.size : nullptr;
  const FusedNorm* norm = config.fc_norm ? &weights_.fc_norm : nullptr;
  head(ops, weights_.head, pool(ops, state, q, norm, config.fc_norm_eps), logits, false);
}

void FusedForward::run(FusedOps& ops, const void* patches, void* workspace, float* logits,
                       int64_t* source) const {
  State state{static_cast<unsigned char*>(workspace), source};
  const bool merges = std::any_of(r_.begin(), r_.end(), [](int64_t r) { return r > 0; });
  // The counters at its start are left at zero by every matching, but the memory is shared.
  if (merges) ops.clear(state.base + at_.match, static_cast<size_t>(shape_.batch) * 4);
  write_key_weights(ops, state, patches);
  embed(ops, state, patches);
  for (size_t block = 0; block < weights_.blocks.size(); ++block) run_block(ops, state, block);
  classify(ops, state, logits);
}

}  // namespace tome
