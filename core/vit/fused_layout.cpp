#include "vit/fused_layout.h"

#include <algorithm>
#include <utility>

#include "cuda/element_type.h"
#include "merging/match_launch.h"
#include "merging/partition.h"
#include "vit/first_tokens.h"

namespace tome {
namespace {

class Layouter {
 public:
  Layouter(const FusedWeights& weights, const FusedShape& shape, std::span<const int64_t> tokens,
           std::span<const int64_t> r)
      : weights_(weights),
        shape_(shape),
        tokens_(tokens),
        r_(r),
        prefix_(weights.config.prefix_tokens()),
        element_(static_cast<int64_t>(cuda::element_bytes(weights.type))),
        rows_(shape.batch * tokens.front()) {}

  FusedLayout run() {
    place_rows();
    place_key_weights();
    const int64_t most = r_.empty() ? 0 : *std::max_element(r_.begin(), r_.end());
    if (most > 0) place_merges(most);
    at_.pooled = take(shape_.batch * weights_.config.head_inputs() * element_);
    at_.pooled_norm = take(shape_.batch * weights_.config.dim * element_);
    at_.bytes = static_cast<size_t>(end_);
    return std::move(at_);
  }

 private:
  size_t take(int64_t bytes) {
    const int64_t begin = end_;
    end_ += (bytes + 255) / 256 * 256;
    return static_cast<size_t>(begin);
  }

  void place_rows() {
    const ViTConfig& config = weights_.config;
    for (size_t& x : at_.x) x = take(rows_ * config.dim * element_);
    at_.norm = take(rows_ * config.dim * element_);
    // Attention's tensors are done with when the MLP's begin, and the patches before both.
    const int64_t shared = end_;
    at_.qkv = take(rows_ * (3 * config.dim + weights_.head_dim()) * element_);
    at_.attention = take(rows_ * config.dim * element_);
    const int64_t attention_end = std::exchange(end_, shared);
    at_.hidden = take(rows_ * config.mlp_hidden * element_);
    const int64_t hidden_end = std::exchange(end_, shared);
    at_.embedded = take(rows_ * config.dim * element_);
    end_ = std::max({end_, attention_end, hidden_end});
  }

  void place_key_weights() {
    if (shape_.proportional && shape_.joint_frames > 1) at_.first_size = take(rows_ * 4);
    const FirstTokens first(weights_.config, shape_.joint_frames);
    at_.key_weights.resize(r_.size());
    for (size_t i = 0; i < r_.size() && !shape_.proportional && prefix_ > 0; ++i) {
      const auto prefix = static_cast<float>(first.prefix_weight(tokens_[i], false));
      const bool as_before = i > 0 && tokens_[i] == tokens_[i - 1];
      if (as_before) at_.key_weights[i] = at_.key_weights[i - 1];
      if (!as_before && prefix != 1) at_.key_weights[i] = {prefix, take(tokens_[i] * 4)};
    }
  }

  void place_merges(int64_t most) {
    for (size_t& size : at_.size) size = take(rows_ * 4);
    if (knows_grid(shape_.partition)) {
      for (size_t& parity : at_.parity) parity = take(rows_);
      at_.a = take(rows_ * 8);
      at_.b = take(rows_ * 8);
    }
    at_.target = take(rows_ * 8);
    at_.from = take(shape_.batch * most * 8);
    at_.to = take(shape_.batch * most * 8);
    at_.member_begin = take((rows_ + shape_.batch) * 4);
    at_.members = take(rows_ * 4);
    at_.match = take(match_scratch_bytes());
  }

  int64_t match_scratch_bytes() const {
    size_t bytes = 0;
    for (size_t i = 0; i < r_.size(); ++i) {
      if (r_[i] == 0) continue;
      cuda::MatchScratch scratch;
      const int n_a = halves_view(shape_.partition, prefix_, tokens_[i]).n_a;
      bytes = std::max(bytes, cuda::lay_out_match_scratch(nullptr, static_cast<int>(shape_.batch),
                                                          n_a, static_cast<int>(r_[i]), &scratch));
    }
    return static_cast<int64_t>(bytes);
  }

  const FusedWeights& weights_;
  const FusedShape& shape_;
  std::span<const int64_t> tokens_, r_;
  int64_t prefix_, element_, rows_;
  FusedLayout at_;
  int64_t end_ = 0;
};

}  // namespace

FusedLayout lay_out(const FusedWeights& weights, const FusedShape& shape,
                    std::span<const int64_t> tokens, std::span<const int64_t> r) {
  return Layouter(weights, shape, tokens, r).run();
}

}  // namespace tome
