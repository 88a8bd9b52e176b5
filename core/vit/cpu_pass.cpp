#include "vit/cpu_pass.h"

#include <algorithm>
#include <cstring>

namespace tome {
void CpuPass::forward() {
  PhaseClock clock(profile_);
  start_tokens();
  embed();
  begin_sizes();
  clock.ended(CpuPhase::kEmbed);
  bool normalised = false;
  if (run_.static_target != nullptr) {
    merge_static();
    clock.ended(CpuPhase::kMerge);
    normalised = true;
  }
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    const CpuBlock& block = weights_.blocks[i];
    if (!normalised) normalise(block.norm1);
    normalised = false;
    clock.ended(CpuPhase::kNorm);
    linear(block.qkv, work_.narrow, work_.narrow_stride, Epilogue::kStore);
    clock.ended(CpuPhase::kQkv);
    attend(run_.r[i]);
    clock.ended(CpuPhase::kAttention);
    linear(block.proj, work_.narrow, work_.narrow_stride, Epilogue::kAdd);
    clock.ended(CpuPhase::kProjection);
    if (run_.r[i] > 0) {
      merge_and_normalise(block.norm2, tokens_ - run_.r[i]);
      clock.ended(CpuPhase::kMerge);
    } else {
      normalise(block.norm2);
      clock.ended(CpuPhase::kNorm);
    }
    linear(block.fc1, work_.narrow, work_.narrow_stride, Epilogue::kAct);
    clock.ended(CpuPhase::kFc1);
    linear(block.fc2, work_.wide, work_.wide_stride, Epilogue::kAdd);
    clock.ended(CpuPhase::kFc2);
  }
  classify();
  write_sizes();
  clock.ended(CpuPhase::kHead);
}

void CpuPass::linear(const CpuLinear& layer, const CpuBuffer& from, int64_t from_stride,
                     Epilogue epilogue) {
  ProductArgs args;
  args.a = from.at();
  args.a_stride = from_stride;
  args.rows = rows();
  args.b = layer.packed.at();
  args.steps = layer.steps;
  args.columns = layer.columns;
  args.bias = layer.bias.data();
  args.epilogue = epilogue;
  args.activation = config_.activation;
  args.out = epilogue == Epilogue::kAdd ? work_.x.at() : work_.wide.at();
  args.out_stride = epilogue == Epilogue::kAdd ? work_.x_stride : work_.wide_stride;
  if (layer.in_bytes()) return byte_product(layer, args);
  product(args);
}

void CpuPass::product(const ProductArgs& args) {
  const ProductShares shares = share_out(kernels_, args, team_.threads(), rows_stay_);
  for_shares(args, shares, [&](const ProductArgs& part, int64_t first, int64_t last, int64_t) {
    kernels_.product(part, first, last);
  });
}

void CpuPass::byte_product(const CpuLinear& layer, ProductArgs args) {
  const QuantiseArgs quantise{args.a,           args.a_stride,     layer.inner,
                              work_.bytes.at(), work_.byte_stride, work_.byte_rows.data()};
  args.a = quantise.out;
  args.a_stride = quantise.out_stride;
  args.byte_rows = quantise.rows;
  args.column_scale = layer.column_scale.data();
  args.column_sum = layer.column_sum.data();
  const ProductShares shares = share_out(kernels_, args, team_.threads(), rows_stay_);
  // By whoever multiplies them, where that is one thread.
  const bool apart = shares.groups > 1;
  if (apart) {
    for_rows(args.rows, [&](int64_t first, int64_t last, int) {
      kernels_.bytes->quantise(quantise, first, last);
    });
  }
  for_shares(args, shares, [&](const ProductArgs& part, int64_t first, int64_t last, int64_t row) {
    if (!apart) kernels_.bytes->quantise(quantise, row, row + part.rows);
    kernels_.bytes->product(part, first, last);
  });
}

void CpuPass::start_tokens() {
  const int64_t numbers = config_.channels * config_.patch * config_.patch;
  const int64_t frame_patches = config_.grid_rows() * config_.grid_cols();
  const int64_t row_bytes = weights_.patch_embed.steps * 4;
  for_rows(rows(), [&](int64_t first, int64_t last, int) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t token = row % tokens_;
      const int64_t patch = token - prefix_;
      char* elements = work_.wide.at(row * work_.wide_stride);
      const int64_t place = patch < 0 ? token : prefix_ + patch % config_.patch_tokens();
      std::copy_n(weights_.start.data() + place * config_.dim, config_.dim, x_row(row));
      if (patch < 0) {
        std::memset(elements, 0, static_cast<size_t>(row_bytes));
        continue;
      }
      for (int64_t t = 0; t < config_.tubelet; ++t) {
        const int64_t frame =
            row / tokens_ * run_.frames + patch / frame_patches * config_.tubelet + t;
        kernels_.to_elements(
            run_.patches + (frame * frame_patches + patch % frame_patches) * numbers, numbers,
            elements + t * numbers * kernels_.element_bytes);
      }
    }
  });
}

void CpuPass::embed() {
  linear(weights_.patch_embed, work_.wide, work_.wide_stride, Epilogue::kAdd);
  if (!config_.pre_norm) return;
  NormArgs args = norm_args(weights_.pre_norm, config_.norm_eps);
  args.out = work_.x.at();
  args.out_stride = work_.x_stride;
  for_rows(rows(),
           [&](int64_t first, int64_t last, int) { kernels_.normalise_float(args, first, last); });
}

NormArgs CpuPass::norm_args(const CpuNorm& norm, double eps) const {
  return {work_.x.at<float>(), work_.x_stride,          config_.dim,       norm.weight.data(),
          norm.bias.data(),    static_cast<float>(eps), work_.narrow.at(), work_.narrow_stride};
}

void CpuPass::normalise(const CpuNorm& norm) {
  const NormArgs args = norm_args(norm, config_.norm_eps);
  for_rows(rows(),
           [&](int64_t first, int64_t last, int) { kernels_.normalise(args, first, last); });
}

HeadArgs CpuPass::head_args(int64_t head, char* packed) const {
  const int64_t sample = head / config_.heads;
  const int64_t offset = head % config_.heads * head_dim_ * kernels_.element_bytes;
  const char* q = work_.wide.at(sample * tokens_ * work_.wide_stride) + offset;
  const int64_t apart = config_.dim * kernels_.element_bytes;
  HeadArgs args;
  args.q = q;
  args.k = q + apart;
  args.v = q + 2 * apart;
  args.stride = work_.wide_stride;
  args.tokens = tokens_;
  args.head_dim = head_dim_;
  args.packed = packed;
  args.key_bias = work_.key_bias.data() + sample * work_.padded_tokens;
  args.out = work_.narrow.at(sample * tokens_ * work_.narrow_stride) + offset;
  args.out_stride = work_.narrow_stride;
  return args;
}

void CpuPass::attend(int64_t r) {
  const int64_t heads = run_.batch * config_.heads;
  const int64_t matches = r > 0 ? run_.batch : 0;
  int64_t parts = 1;
  if (share_packed_) {
    team_.for_each(heads, [&](int64_t head, int) {
      kernels_.pack_head(head_args(head, work_.packed.at(head * work_.packed_stride)));
    });
    const int64_t blocks = (tokens_ + kernels_.block_rows - 1) / kernels_.block_rows;
    parts = std::clamp<int64_t>(16 * team_.threads() / heads, 1, blocks);
  }
  team_.for_each(matches + heads * parts, [&](int64_t item, int thread) {
    if (item < matches) {
      const MatchingClock clock(profile_);
      return match(item, r, thread);
    }
    const int64_t head = (item - matches) / parts;
    const int64_t part = (item - matches) % parts;
    const int64_t slot = share_packed_ ? head : thread;
    const HeadArgs args = head_args(head, work_.packed.at(slot * work_.packed_stride));
    if (!share_packed_) kernels_.pack_head(args);
    kernels_.attend(args, scratch(thread), share(tokens_, part, parts),
                    share(tokens_, part + 1, parts));
  });
}

}  // namespace tome
