// One forward of CpuForward on its way through the blocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vit/config.h"
#include "vit/cpu_forward.h"
#include "vit/cpu_kernels.h"
#include "vit/cpu_profile.h"
#include "vit/cpu_shares.h"
#include "vit/cpu_team.h"
#include "vit/cpu_weights.h"
#include "vit/cpu_workspace.h"
#include "vit/first_tokens.h"

namespace tome {

class CpuPass {
 public:
  CpuPass(const ViTConfig& config, const CpuWeights& weights, const CpuKernels& kernels,
          const CpuRun& run, CpuWorkspace& work, CpuTeam& team)
      : config_(config),
        weights_(weights),
        kernels_(kernels),
        run_(run),
        work_(work),
        team_(team),
        profile_(CpuProfile::current()),
        first_(config, run.frames),
        prefix_(first_.prefix),
        tokens_(first_.count()),
        head_dim_(config.dim / config.heads),
        rows_stay_(team.threads() > 1 && fit_a_core(largest_layer())),
        share_packed_(run.batch * config.heads < most_packed_heads(team.threads())) {}

  void forward();

 private:
  float* x_row(int64_t row) const { return work_.x.at<float>(row * work_.x_stride); }
  int64_t rows() const { return run_.batch * tokens_; }
  /// Bytes of the weights of a block's largest product.
  int64_t largest_layer() const {
    if (weights_.blocks.empty()) return 0;
    const CpuBlock& block = weights_.blocks.front();
    return kernels_.padded(std::max(block.qkv.columns, block.fc1.columns)) * block.qkv.steps * 4;
  }

  /// Items of `count` rows, enough for every thread to have several.
  template <class Function>
  void for_rows(int64_t count, Function&& f) {
    const int64_t items = std::clamp<int64_t>(count / 8, 1, int64_t{8} * team_.threads());
    team_.for_each(items, [&](int64_t item, int thread) {
      f(share(count, item, items), share(count, item + 1, items), thread);
    });
  }

  // products

  /// Rows of `from` times the layer; where to is told by what becomes of the sums.
  void linear(const CpuLinear& layer, const CpuBuffer& from, int64_t from_stride,
              Epilogue epilogue);
  /// Of elements, shared out to the threads.
  void product(const ProductArgs& args);
  /// The same as linear() of a layer in 8 bits.
  /// @param args  of the elements
  void byte_product(const CpuLinear& layer, ProductArgs args);
  /// f(its rows, first panel, last panel, its first row) for each share of a product.
  template <class Function>
  void for_shares(const ProductArgs& args, const ProductShares& shares, Function&& f) {
    const int64_t panels = kernels_.panels(args.columns);
    team_.for_each(shares.chunks * shares.groups, [&](int64_t item, int) {
      const int64_t chunk = item / shares.groups;
      const int64_t group = item % shares.groups;
      const int64_t first = share(args.rows, chunk, shares.chunks);
      ProductArgs part = args;
      part.resident = shares.resident;
      part.rows = share(args.rows, chunk + 1, shares.chunks) - first;
      part.a = static_cast<const char*>(args.a) + first * args.a_stride;
      part.out = static_cast<char*>(args.out) + first * args.out_stride;
      if (args.byte_rows != nullptr) part.byte_rows = args.byte_rows + first;
      f(part, share(panels, group, shares.groups), share(panels, group + 1, shares.groups), first);
    });
  }

  // tokens before block 0

  /// x: positions, prefix tokens and biases; wide: the patches' rows, zeros for prefix tokens.
  void start_tokens();
  void embed();
  NormArgs norm_args(const CpuNorm& norm, double eps) const;
  void normalise(const CpuNorm& norm);

  // attention, and matching beside it

  HeadArgs head_args(int64_t head, char* packed) const;
  char* scratch(int thread) const { return work_.scratch.at(thread * work_.scratch_stride); }
  /// Attention of every head. Matching needs the keys alone, so it runs meanwhile.
  void attend(int64_t r);
  void begin_sizes();
  /// What is added to each key's score: see TokenState::log_weight.
  /// @param size  of each key; null: all count once
  void write_bias(int64_t sample, const float* size, int64_t tokens,
                  std::vector<float>& bias) const;
  bool by_grid() const { return knows_grid(run_.partition); }
  /// The two halves, as split_tokens has them.
  void split(SampleTokens& sample) const;
  /// A merged token lies where its largest part lay, as TokenState::move_places has it.
  void move_parities(SampleTokens& sample, int64_t tokens_out) const;
  void match(int64_t b, int64_t r, int thread);
  void plan(SampleTokens& sample, int64_t r) const;
  /// From `target`: the members of every output token, sizes, biases and sources.
  void finish_plan(int64_t b, int64_t tokens_out);
  void merge_static();
  void merge_and_normalise(const CpuNorm& norm, int64_t tokens_out);

  // the head

  /// What the head sees of one sample, and for a second head the distillation token.
  void pool(int64_t b, float* pooled, float* second);
  /// Mean of the patch tokens.
  template <class Token>
  void pool_patches(int64_t b, const Token& token, float* mean);
  void classify();
  void head(const CpuLinear& layer, int64_t first_row, float* logits);
  void write_sizes();

  const ViTConfig& config_;
  const CpuWeights& weights_;
  const CpuKernels& kernels_;
  const CpuRun& run_;
  CpuWorkspace& work_;
  CpuTeam& team_;
  CpuProfile* profile_;
  FirstTokens first_;
  int64_t prefix_, tokens_, head_dim_;
  bool rows_stay_;     ///< with the thread that has them
  bool share_packed_;  ///< heads are few: all are packed first, then shared out in parts
};

}  // namespace tome
