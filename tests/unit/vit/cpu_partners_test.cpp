// Which partner the CPU's kernels find for each A token, in every instruction set and in both
// element types: against the definition, in double precision, on the elements as they are stored.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu_sets.h"
#include "vit/cpu_kernels.h"
#include "vit/cpu_memory.h"

namespace tome {
namespace {

using testing::kNaN;

constexpr double kNone = -std::numeric_limits<double>::infinity();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Partners {
  std::vector<float> score;
  std::vector<int32_t> best;
};

class CpuPartners : public testing::CpuKernelTest {
 protected:
  /// Keys as the kernels store them: rounded where elements are bfloat16.
  at::Tensor stored(const at::Tensor& keys) const {
    return kernels_->bf16 ? keys.to(at::kBFloat16).to(at::kFloat) : keys.clone();
  }

  /// @param keys  [tokens, heads, head_dim], stored; A is the even places, B the odd ones
  Partners find(const at::Tensor& keys) const {
    const int64_t tokens = keys.size(0), row = keys.size(1) * keys.size(2);
    PartnerArgs args;
    args.tokens = tokens;
    args.heads = keys.size(1);
    args.head_dim = keys.size(2);
    args.stride = (kernels_->steps(row) * 4 + 63) / 64 * 64;
    CpuBuffer elements(tokens * args.stride);
    for (int64_t i = 0; i < tokens; ++i) {
      kernels_->to_elements(keys[i].const_data_ptr<float>(), row, elements.at(i * args.stride));
    }
    CpuBuffer scratch(kernels_->partner_scratch_bytes(tokens, args.head_dim));
    std::vector<int64_t> a, b;
    for (int64_t i = 0; i < tokens; ++i) (i % 2 == 0 ? a : b).push_back(i);
    Partners found{std::vector<float>(a.size(), -7), std::vector<int32_t>(a.size(), -7)};
    args.keys = elements.at();
    args.a = a.data();
    args.b = b.data();
    args.na = static_cast<int64_t>(a.size());
    args.nb = static_cast<int64_t>(b.size());
    args.scratch = scratch.at();
    args.score = found.score.data();
    args.best = found.best.data();
    kernels_->find_partners(args);
    return found;
  }
};

/// Cosines of the keys averaged over heads, [Na, Nb]; a key of zero length has cosine 0.
at::Tensor cosines(const at::Tensor& keys) {
  const at::Tensor mean = keys.to(at::kDouble).mean(1);
  const at::Tensor length = mean.norm(2, 1, true);
  const at::Tensor unit = mean / length.masked_fill(length == 0, 1);
  return unit.slice(0, 0, at::nullopt, 2).matmul(unit.slice(0, 1, at::nullopt, 2).t());
}

TEST_P(CpuPartners, AreTheDefinitions) {
  at::manual_seed(2);
  // Channels and tokens that are no multiple of any vector, panel or block, too.
  for (const auto& [tokens, heads, dim] : std::vector<std::array<int64_t, 3>>{
           {197, 3, 64}, {64, 12, 64}, {37, 3, 22}, {131, 2, 80}, {3, 1, 16}, {2, 4, 8}}) {
    SCOPED_TRACE(tokens);
    const at::Tensor keys = stored(at::randn({tokens, heads, dim}));
    const at::Tensor expected = cosines(keys);
    const Partners found = find(keys);
    for (int64_t i = 0; i < expected.size(0); ++i) {
      const double most = expected[i].max().item<double>();
      const auto at = static_cast<size_t>(i);
      EXPECT_NEAR(found.score[at], most, 1e-5) << i;
      // Another one only where float32 cannot tell them apart.
      EXPECT_NEAR(expected[i][found.best[at]].item<double>(), most, 1e-6) << i;
    }
  }
}

TEST_P(CpuPartners, EqualScoresGoToTheLowerIndex) {
  for (const int64_t tokens : {2, 9, 64, 131}) {
    const at::Tensor keys = stored(at::ones({tokens, 3, 22}));
    for (const int32_t best : find(keys).best) EXPECT_EQ(best, 0);
  }
  // B tokens 3 and 5 (places 7 and 11) are the same, and nearest to every A token.
  at::manual_seed(3);
  at::Tensor keys = at::randn({64, 1, 16});
  keys.select(0, 11).copy_(keys[7]);
  keys.slice(0, 0, at::nullopt, 2).copy_(keys[7].unsqueeze(0) + 0.01 * at::randn({32, 1, 16}));
  for (const int32_t best : find(stored(keys)).best) EXPECT_EQ(best, 3);
}

TEST_P(CpuPartners, WhatIsNotANumberComesLast) {
  at::manual_seed(4);
  for (const float value : {kNaN, kInf}) {
    at::Tensor keys = at::randn({37, 3, 22});
    keys.select(0, 4).fill_(value);   // A token 2
    keys.select(0, 9).fill_(value);   // B token 4
    keys.select(0, 36).fill_(value);  // A token 18, in the last block of rows
    const Partners found = find(stored(keys));
    for (size_t i = 0; i < found.best.size(); ++i) {
      SCOPED_TRACE(i);
      const bool bad = i == 2 || i == 18;
      if (bad) {
        EXPECT_EQ(found.score[i], kNone);
        EXPECT_EQ(found.best[i], 0);
      } else {
        EXPECT_TRUE(std::isfinite(found.score[i]));
        EXPECT_NE(found.best[i], 4);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuPartners, ::testing::ValuesIn(testing::kCpuSets),
                         testing::name_of);

}  // namespace
}  // namespace tome
