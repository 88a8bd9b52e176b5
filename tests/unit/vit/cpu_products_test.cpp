// Products and attention of every set of kernels against their definitions, in double precision, on
// the elements as they are stored: sizes around every tile, panel, block and part.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu_sets.h"
#include "guarded_rows.h"
#include "vit/cpu_memory.h"

namespace tome {
namespace {

using testing::kUntouched;
using testing::Rows;

class CpuProducts : public testing::CpuKernelTest {
 protected:
  at::Tensor stored(const at::Tensor& values) const {
    return kernels_->bf16 ? values.to(at::kBFloat16).to(at::kFloat) : values;
  }

  at::ScalarType element() const { return kernels_->bf16 ? at::kBFloat16 : at::kFloat; }

  void expect_product(int64_t rows, int64_t inner, int64_t columns, Epilogue epilogue) const {
    SCOPED_TRACE(::testing::Message() << rows << " x " << inner << " x " << columns << ", epilogue "
                                      << static_cast<int>(epilogue));
    const at::Tensor a = stored(at::randn({rows, inner}));
    const at::Tensor b = stored(at::randn({columns, inner}) / std::sqrt(inner));
    const at::Tensor bias = at::randn({columns});
    const Rows from(*kernels_, a);
    CpuBuffer packed(kernels_->packed_bytes(columns, inner));
    kernels_->pack_weights(b.const_data_ptr<float>(), nullptr, columns, inner, packed.at<void>());
    std::vector<float> padded(static_cast<size_t>(kernels_->padded(columns)));
    std::copy_n(bias.const_data_ptr<float>(), columns, padded.begin());
    const bool floats = epilogue == Epilogue::kAdd || epilogue == Epilogue::kFloat;
    const at::Tensor before = at::full({rows, columns}, kUntouched);
    const Rows out = floats ? Rows(before) : Rows(*kernels_, before);

    ProductArgs args;
    args.a = from.at();
    args.a_stride = from.stride;
    args.rows = rows;
    args.b = packed.at();
    args.steps = kernels_->steps(inner);
    args.columns = columns;
    args.bias = padded.data();
    args.epilogue = epilogue;
    args.activation = Activation::kRelu;
    args.out = out.at();
    args.out_stride = out.stride;
    const int64_t half = kernels_->panels(columns) / 2;
    kernels_->product(args, half, kernels_->panels(columns));
    args.resident = true;
    kernels_->product(args, 0, half);
    EXPECT_FALSE(testing::holds_emulated_tiles());

    at::Tensor expected = at::matmul(a.to(at::kDouble), b.to(at::kDouble).t()) + bias;
    if (epilogue == Epilogue::kAdd) expected += kUntouched;
    if (epilogue == Epilogue::kAct) expected = expected.relu();
    const at::Tensor found = out.read(floats ? at::kFloat : element());
    // Float32's sums, and what storing an element rounds off.
    const at::Tensor tolerance =
        2e-5 + (floats || !kernels_->bf16 ? 1e-6 : 1.0 / 250) * expected.abs();
    EXPECT_TRUE(((found - expected).abs() <= tolerance).all().item<bool>())
        << (found - expected).abs().max().item<double>();
    EXPECT_TRUE(out.untouched_outside());
  }

  /// softmax(q k^T / sqrt(d) + log size) v by the kernels, with q, k and v [tokens, d] beside each
  /// other as the forward has them.
  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const at::Tensor& size) const {
    const int64_t tokens = q.size(0), head_dim = q.size(1);
    const Rows qkv(*kernels_, at::cat({q, k, v}, 1));
    std::vector<float> bias(static_cast<size_t>(kernels_->padded(tokens)), kNoKey);
    for (int64_t i = 0; i < tokens; ++i) {
      bias[static_cast<size_t>(i)] = std::log2(size[i].item<float>());
    }
    CpuBuffer packed(kernels_->packed_head_bytes(tokens, head_dim));
    CpuBuffer scratch(kernels_->attend_scratch_bytes(tokens));
    // What was there before is no number.
    std::fill_n(packed.at<uint8_t>(), packed.bytes(), uint8_t{0xFF});
    std::fill_n(scratch.at<uint8_t>(), scratch.bytes(), uint8_t{0xFF});
    const Rows out(*kernels_, at::full({tokens, head_dim}, kUntouched));

    HeadArgs args;
    const int64_t apart = head_dim * kernels_->element_bytes;
    args.q = qkv.at();
    args.k = qkv.at() + apart;
    args.v = qkv.at() + 2 * apart;
    args.stride = qkv.stride;
    args.tokens = tokens;
    args.head_dim = head_dim;
    args.packed = packed.at();
    args.key_bias = bias.data();
    args.out = out.at();
    args.out_stride = out.stride;
    kernels_->pack_head(args);
    const int64_t part = tokens / 3;
    kernels_->attend(args, scratch.at<void>(), part, tokens);
    kernels_->attend(args, scratch.at<void>(), 0, part);
    EXPECT_FALSE(testing::holds_emulated_tiles());
    EXPECT_TRUE(out.untouched_outside());
    return out.read(element());
  }

  /// @param by  what each key is multiplied with [tokens]
  /// @param tolerance  of float32
  void expect_attention(int64_t tokens, int64_t head_dim, const at::Tensor& by = {},
                        double tolerance = 1e-5) const {
    SCOPED_TRACE(::testing::Message() << tokens << " tokens, heads of " << head_dim);
    const at::Tensor q = stored(at::randn({tokens, head_dim}));
    const at::Tensor keys = at::randn({tokens, head_dim});
    const at::Tensor k = stored(by.defined() ? keys * by.unsqueeze(1) : keys);
    const at::Tensor v = stored(at::randn({tokens, head_dim}));
    const at::Tensor size = at::randint(1, 9, {tokens}).to(at::kDouble);
    const at::Tensor scores =
        at::matmul(q.to(at::kDouble), k.to(at::kDouble).t()) / std::sqrt(head_dim) + size.log();
    const at::Tensor expected = at::matmul(at::softmax(scores, 1), v.to(at::kDouble));
    const double most = (attend(q, k, v, size) - expected).abs().max().item<double>();
    EXPECT_LE(most, kernels_->bf16 ? 2e-2 : tolerance);
  }
};

TEST_P(CpuProducts, OfAnyNumberOfRows) {
  at::manual_seed(1);
  for (int64_t rows = 1; rows <= 70; ++rows) expect_product(rows, 64, 40, Epilogue::kFloat);
  expect_product(197, 192, 96, Epilogue::kStore);
}

TEST_P(CpuProducts, OfAnyInnerDimension) {
  at::manual_seed(2);
  for (int64_t inner = 2; inner <= 140; inner += 2) {
    for (const int64_t rows : {3, 37}) expect_product(rows, inner, 33, Epilogue::kFloat);
  }
  expect_product(20, 588, 64, Epilogue::kAdd);
}

TEST_P(CpuProducts, OfAnyNumberOfColumns) {
  at::manual_seed(3);
  for (int64_t columns = 1; columns <= 100; columns += 3) {
    expect_product(35, 96, columns, Epilogue::kFloat);
  }
}

TEST_P(CpuProducts, WithEveryEpilogue) {
  at::manual_seed(4);
  for (const Epilogue epilogue :
       {Epilogue::kStore, Epilogue::kAct, Epilogue::kAdd, Epilogue::kFloat}) {
    for (const int64_t inner : {int64_t{30}, int64_t{64}, int64_t{110}, 4 * kMostPartSteps + 6}) {
      for (const int64_t rows : {1, 16, 17, 50, 64}) expect_product(rows, inner, 70, epilogue);
    }
  }
}

TEST_P(CpuProducts, OfQueriesKeysAndValues) {
  at::manual_seed(5);
  for (const int64_t head_dim : {22, 32, 64, 80, 128}) {
    for (const int64_t tokens : {3, 11, 16, 32, 33, 50, 197}) expect_attention(tokens, head_dim);
  }
}

TEST_P(CpuProducts, OfKeysThatGrowLongerAndLonger) {
  at::manual_seed(6);
  // Scores of hundreds and more: the largest so far is left behind again and again.
  constexpr double kTolerance = 1e-3;  // a thousand's float32 is that coarse
  expect_attention(197, 64, at::linspace(0.1, 300, 197), kTolerance);
  expect_attention(197, 64, at::linspace(300, 0.1, 197), kTolerance);
  at::Tensor by = at::ones({100});
  by.narrow(0, 40, 30).fill_(1000);
  expect_attention(100, 64, by, kTolerance);
  by.narrow(0, 90, 1).fill_(1e6);
  expect_attention(100, 64, by, kTolerance);
}

TEST_P(CpuProducts, OfAQueryThatIsNoNumberSpoilItsRowAlone) {
  at::manual_seed(7);
  at::Tensor q = at::randn({50, 64});
  const at::Tensor k = at::randn({50, 64}), v = at::randn({50, 64}), size = at::ones({50});
  const at::Tensor good = attend(q, k, v, size);
  constexpr int64_t kBad = 37;
  q[kBad][5] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor found = attend(q, k, v, size);
  EXPECT_TRUE(found[kBad].isnan().all().item<bool>());
  for (int64_t row = 0; row < 50; ++row) {
    if (row == kBad) continue;
    EXPECT_TRUE(at::equal(found[row], good[row])) << row;
  }
}

TEST_P(CpuProducts, OfAKeyThatIsNoNumberSpoilEveryRow) {
  at::manual_seed(8);
  const at::Tensor q = at::randn({50, 64}), v = at::randn({50, 64}), size = at::ones({50});
  for (const int64_t bad : {0, 20, 49}) {
    at::Tensor k = at::randn({50, 64});
    k[bad][5] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(attend(q, k, v, size).isnan().all().item<bool>()) << bad;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuProducts, ::testing::ValuesIn(testing::kCpuSets),
                         testing::name_of);

}  // namespace
}  // namespace tome
