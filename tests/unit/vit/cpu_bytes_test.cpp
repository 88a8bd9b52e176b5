// Products in 8 bits of every set of kernels against their definition, see Note [Products in 8
// bits] in cpu_kernels.h, and the forward with them against the one in float32.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "cpu_sets.h"
#include "guarded_rows.h"
#include "tome_error.h"
#include "vit/cpu_forward.h"
#include "vit/cpu_memory.h"
#include "vit/model.h"
#include "vit_fixtures.h"

namespace tome {
namespace {

using testing::kNaN;
using testing::kUntouched;
using testing::parity_config;
using testing::random_patches;
using testing::random_weights;
using testing::Rows;

class CpuBytes : public testing::CpuKernelTest {
 protected:
  void SetUp() override {
    testing::CpuKernelTest::SetUp();
    if (!IsSkipped() && kernels_->bytes == nullptr) {
      GTEST_SKIP() << "this processor has no products of bytes";
    }
  }

  at::Tensor stored(const at::Tensor& values) const {
    return kernels_->bf16 ? values.to(at::kBFloat16).to(at::kFloat) : values;
  }

  struct Quantised {
    at::Tensor bytes;  // double [rows, count]
    std::vector<ByteRow> rows;

    at::Tensor numbers() const {
      at::Tensor out = bytes.clone();
      for (int64_t i = 0; i < out.size(0); ++i) {
        const ByteRow& row = rows[static_cast<size_t>(i)];
        out[i].sub_(row.zero).mul_(row.scale);
      }
      return out;
    }
  };

  /// What weights [columns, inner] are whole numbers of: 127ths of their column's largest, or, see
  /// Note [Products in 8 bits by pairs], of the largest sum of two neighbours' magnitudes.
  at::Tensor weight_steps(const at::Tensor& weights) const {
    if (!kernels_->bytes->in_pairs) return weights.abs().amax(1, true) / 127;
    const at::Tensor even = at::constant_pad_nd(weights.abs(), {0, weights.size(1) % 2});
    return even.view({weights.size(0), -1, 2}).sum(2).amax(1, true) / 127;
  }

  /// @param values  as stored
  Quantised quantise(const at::Tensor& values) const {
    const int64_t rows = values.size(0), count = values.size(1);
    const Rows from(*kernels_, values);
    const Rows out(rows, (count + 15) / 16 * 16);  // whole vectors
    Quantised found{{}, std::vector<ByteRow>(static_cast<size_t>(rows))};
    const QuantiseArgs args{from.at(), from.stride, count, out.at(), out.stride, found.rows.data()};
    kernels_->bytes->quantise(args, rows / 2, rows);
    kernels_->bytes->quantise(args, 0, rows / 2);
    EXPECT_TRUE(out.untouched_outside());
    found.bytes = out.read(at::kByte).narrow(1, 0, count);
    return found;
  }

  void expect_product(int64_t rows, int64_t inner, int64_t columns, Epilogue epilogue) const {
    expect_product(at::randn({rows, inner}) + 0.3, at::randn({columns, inner}) / std::sqrt(inner),
                   epilogue);
  }

  void expect_product(const at::Tensor& values, const at::Tensor& weights,
                      Epilogue epilogue) const {
    const int64_t rows = values.size(0), inner = values.size(1), columns = weights.size(0);
    SCOPED_TRACE(::testing::Message() << rows << " x " << inner << " x " << columns << ", epilogue "
                                      << static_cast<int>(epilogue));
    const Quantised a = quantise(stored(values));
    const at::Tensor scale = at::linspace(-2, 3, columns);
    const at::Tensor bias = at::randn({columns});
    const Rows from(a.bytes.to(at::kByte), 1);
    const auto padded = static_cast<size_t>(kernels_->padded(columns));
    CpuBuffer packed(static_cast<int64_t>(padded) * CpuKernels::byte_steps(inner) * 4);
    std::vector<float> biases(padded), column_scale(padded, kNaN), column_sum(padded, kNaN);
    kernels_->bytes->pack_weights(weights.const_data_ptr<float>(), scale.const_data_ptr<float>(),
                                  columns, inner, packed.at<void>(), column_scale.data(),
                                  column_sum.data());
    std::copy_n(bias.const_data_ptr<float>(), columns, biases.begin());
    const bool floats = epilogue == Epilogue::kAdd || epilogue == Epilogue::kFloat;
    const at::Tensor before = at::full({rows, columns}, kUntouched);
    const Rows out = floats ? Rows(before) : Rows(*kernels_, before);

    ProductArgs args;
    args.a = from.at();
    args.a_stride = from.stride;
    args.rows = rows;
    args.b = packed.at();
    args.steps = CpuKernels::byte_steps(inner);
    args.columns = columns;
    args.bias = biases.data();
    args.epilogue = epilogue;
    args.activation = Activation::kRelu;
    args.out = out.at();
    args.out_stride = out.stride;
    args.byte_rows = a.rows.data();
    args.column_scale = column_scale.data();
    args.column_sum = column_sum.data();
    const int64_t half = kernels_->panels(columns) / 2;
    kernels_->bytes->product(args, half, kernels_->panels(columns));
    args.resident = true;
    kernels_->bytes->product(args, 0, half);
    EXPECT_FALSE(testing::holds_emulated_tiles());

    const at::Tensor step = weight_steps(weights);
    const at::Tensor rounded = ((weights / step).round() * step).to(at::kDouble);
    at::Tensor expected = at::matmul(a.numbers(), (rounded * scale.unsqueeze(1)).t()) + bias;
    if (epilogue == Epilogue::kAdd) expected += kUntouched;
    if (epilogue == Epilogue::kAct) expected = expected.relu();
    const at::Tensor found = out.read(floats || !kernels_->bf16 ? at::kFloat : at::kBFloat16);
    const at::Tensor tolerance =
        2e-5 + (floats || !kernels_->bf16 ? 1e-6 : 1.0 / 250) * expected.abs();
    EXPECT_TRUE(((found - expected).abs() <= tolerance).all().item<bool>())
        << (found - expected).abs().max().item<double>();
    EXPECT_TRUE(out.untouched_outside());
  }

  /// Logits by the kernels in 8 bits.
  at::Tensor logits(const ViTConfig& config, const ViTWeights& weights, const at::Tensor& patches,
                    const std::vector<int64_t>& r, int threads = 2) const {
    const CpuForward cpu(config, weights, *kernels_, true);
    at::Tensor found = at::empty({patches.size(0), config.classes});
    CpuRun run;
    run.patches = patches.const_data_ptr<float>();
    run.batch = patches.size(0);
    run.frames = patches.size(1);
    run.r = r;
    run.threads = threads;
    run.logits = found.mutable_data_ptr<float>();
    cpu.run(run);
    return found;
  }
};

TEST_P(CpuBytes, StandForTheNumbersOfARow) {
  at::manual_seed(1);
  for (const int64_t count : {2, 16, 66, 106, 192, 770}) {
    at::Tensor values = at::randn({9, count});
    values[1].abs_();
    values[2].abs_().neg_();
    values[3].mul_(1e4);
    values[4].mul_(1e-6);
    values[5].add_(50);
    values = stored(values);
    const Quantised found = quantise(values);
    const at::Tensor zero = at::zeros({1});
    for (int64_t i = 0; i < values.size(0); ++i) {
      const double low = at::minimum(values[i].min(), zero).item<double>();
      const double high = at::maximum(values[i].max(), zero).item<double>();
      const double step = (high - low) / 255;
      const ByteRow& row = found.rows[static_cast<size_t>(i)];
      EXPECT_NEAR(row.scale, step, 1e-6 * step);
      EXPECT_EQ(row.zero, std::nearbyint(-low / step));
      // Half a step, and half of another at the row's ends, as zero is a whole byte.
      const at::Tensor error = (found.numbers()[i] - values[i].to(at::kDouble)).abs();
      const at::Tensor inside = (values[i] > low + step).logical_and(values[i] < high - step);
      EXPECT_LE((error * inside).max().item<double>(), 0.501 * step) << count << ", row " << i;
      EXPECT_LE(error.max().item<double>(), 1.001 * step) << count << ", row " << i;
    }
  }
}

TEST_P(CpuBytes, OfNothingButZerosAreZeros) {
  at::Tensor values = at::zeros({2, 40});
  values[1].fill_(1e-42);  // whose 255th is no number that can be divided by
  const Quantised found = quantise(values);
  EXPECT_EQ(found.rows[0].scale, 0);
  EXPECT_LE(found.numbers().abs().max().item<double>(), 1e-42);
}

TEST_P(CpuBytes, OfARowThatIsNotFiniteSpoilIt) {
  at::manual_seed(2);
  at::Tensor values = at::randn({4, 70});
  values[1][69] = kNaN;
  values[2][3] = std::numeric_limits<float>::infinity();
  const Quantised found = quantise(values);
  for (const size_t row : {0, 3}) EXPECT_TRUE(std::isfinite(found.rows[row].scale));
  for (const size_t row : {1, 2}) EXPECT_TRUE(std::isnan(found.rows[row].scale));
}

TEST_P(CpuBytes, MultipliedAnyNumberOfRows) {
  at::manual_seed(3);
  for (int64_t rows = 1; rows <= 70; ++rows) expect_product(rows, 64, 40, Epilogue::kFloat);
  expect_product(197, 192, 96, Epilogue::kStore);
}

TEST_P(CpuBytes, MultipliedOverAnyInnerDimension) {
  at::manual_seed(4);
  for (int64_t inner = 1; inner <= 140; inner += 3) {
    for (const int64_t rows : {3, 37}) expect_product(rows, inner, 33, Epilogue::kFloat);
  }
}

TEST_P(CpuBytes, MultipliedByAnyNumberOfColumns) {
  at::manual_seed(5);
  for (int64_t columns = 1; columns <= 100; columns += 3) {
    expect_product(35, 96, columns, Epilogue::kFloat);
  }
}

TEST_P(CpuBytes, MultipliedWithEveryEpilogue) {
  at::manual_seed(6);
  for (const Epilogue epilogue :
       {Epilogue::kStore, Epilogue::kAct, Epilogue::kAdd, Epilogue::kFloat}) {
    for (const int64_t inner : {int64_t{30}, int64_t{256}, 8 * kMostPartSteps + 6}) {
      for (const int64_t rows : {1, 17, 64}) expect_product(rows, inner, 70, epilogue);
    }
  }
}

TEST_P(CpuBytes, AddWhatTheirLargestGive) {
  const at::Tensor ones = at::ones({7, 64});
  expect_product(ones, at::ones({40, 64}), Epilogue::kFloat);
  expect_product(ones, -at::ones({40, 64}), Epilogue::kFloat);
  at::Tensor uneven = at::ones({40, 64});
  uneven.slice(1, 1, 64, 2).mul_(0.23);
  expect_product(ones, uneven, Epilogue::kFloat);
  uneven.slice(1, 0, 64, 2).mul_(-1);
  expect_product(ones, uneven, Epilogue::kFloat);
  expect_product(-ones, uneven, Epilogue::kFloat);
}

TEST_P(CpuBytes, OfWeightsThatAreNotFiniteSpoilTheirColumn) {
  at::Tensor weights = at::ones({4, 8});
  weights[1][5] = kNaN;
  weights[2].zero_();
  weights[3].fill_(1.3e-43F);  // whose 127th is no number that can be divided by
  std::vector<float> scale(static_cast<size_t>(kernels_->padded(4)), kNaN), sum(scale);
  CpuBuffer packed(kernels_->padded(4) * 8);
  kernels_->bytes->pack_weights(weights.const_data_ptr<float>(), nullptr, 4, 8, packed.at<void>(),
                                scale.data(), sum.data());
  const bool pairs = kernels_->bytes->in_pairs;
  EXPECT_FLOAT_EQ(scale[0], (pairs ? 2.0F : 1.0F) / 127);
  EXPECT_EQ(sum[0], pairs ? 8 * 64 : 8 * 127);
  EXPECT_TRUE(std::isnan(scale[1]));
  EXPECT_EQ(scale[2], 0);
  EXPECT_EQ(sum[3], 0);
  EXPECT_EQ(scale.back(), 0) << "padding";
}

TEST_P(CpuBytes, GiveTheLogitsOfFloats) {
  const c10::InferenceMode inference;
  at::manual_seed(7);
  ViTConfig odd = parity_config();
  odd.dim = 66;  // no multiple of four, nor of any panel
  odd.heads = 3;
  odd.mlp_hidden = 106;
  for (const ViTConfig& config : {parity_config(), parity_config(Pooling::kMean),
                                  parity_config(Pooling::kTokenAndMean), odd}) {
    const ViTWeights weights = random_weights(config);
    const VisionTransformer model(config, weights);
    const at::Tensor patches = random_patches(config, 3);
    const at::Tensor expected = model.forward(patches).logits;
    const std::vector<int64_t> none(static_cast<size_t>(config.depth), 0);
    const at::Tensor found = logits(config, weights, patches, none);
    const double scale = expected.abs().max().item<double>();
    EXPECT_LE((found - expected).abs().max().item<double>(), 0.05 * scale);
    EXPECT_FALSE(at::allclose(found, expected, 1e-4, 1e-4)) << "or nothing is in 8 bits";
    EXPECT_TRUE(at::equal(logits(config, weights, patches, none, 3), found));
  }
}

TEST_P(CpuBytes, MergeAndSpoilNoOtherSample) {
  const c10::InferenceMode inference;
  at::manual_seed(8);
  const ViTConfig config = parity_config();
  const ViTWeights weights = random_weights(config);
  at::Tensor patches = random_patches(config, 3);
  const std::vector<int64_t> r{8, 8, 8, 8};
  const at::Tensor good = logits(config, weights, patches, r);
  patches[1][0][5][7] = kNaN;
  const at::Tensor found = logits(config, weights, patches, r);
  EXPECT_TRUE(found[1].isnan().all().item<bool>());
  for (const int64_t sample : {0, 2}) EXPECT_TRUE(at::equal(found[sample], good[sample]));
}

INSTANTIATE_TEST_SUITE_P(Cpu, CpuBytes, ::testing::ValuesIn(testing::kCpuSets), testing::name_of);

TEST(CpuBytesChoice, TakesTheBestThatTheEnvironmentLeaves) {
  const auto bytes_of = [](CpuSet set) {
    const CpuKernels* kernels = cpu_kernels(set);
    return kernels != nullptr && kernels->bytes != nullptr ? kernels : nullptr;
  };
  setenv("TOME_MAX_CPU_ISA", "avx2", 1);
  EXPECT_EQ(best_cpu_kernels(ProductType::kInt8), bytes_of(CpuSet::kAvx2));
  setenv("TOME_MAX_CPU_ISA", "avx2-vnni", 1);
  const CpuKernels* vnni = bytes_of(CpuSet::kAvx2Vnni);
  EXPECT_EQ(best_cpu_kernels(ProductType::kInt8), vnni != nullptr ? vnni : bytes_of(CpuSet::kAvx2));
  unsetenv("TOME_MAX_CPU_ISA");
  const CpuKernels* best = nullptr;
  for (const CpuSet set :
       {CpuSet::kAvx2, CpuSet::kAvx2Vnni, CpuSet::kAvx512, CpuSet::kAvx512Bf16, CpuSet::kAmxBf16}) {
    if (bytes_of(set) != nullptr) best = bytes_of(set);
  }
  EXPECT_EQ(best_cpu_kernels(ProductType::kInt8), best);
}

class ModelInBytes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (best_cpu_kernels(ProductType::kInt8) == nullptr) {
      GTEST_SKIP() << "this processor has no products of bytes";
    }
  }
  ViTConfig config_ = parity_config();
  ViTWeights weights_ = random_weights(config_);
};

TEST_F(ModelInBytes, MergesAsManyTokens) {
  const c10::InferenceMode inference;
  const VisionTransformer model(config_, weights_, at::kCPU, at::kChar);
  EXPECT_EQ(model.precision(), at::kChar);
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  options.track_source = true;
  const ForwardOutput found = model.forward(random_patches(config_, 2), options);
  EXPECT_EQ(found.tokens_out, config_.tokens() - 32);
  EXPECT_EQ(found.size.sum().item<double>(), 2.0 * static_cast<double>(config_.tokens()));
}

TEST_F(ModelInBytes, TakesSizesThatBfloat16DoesNot) {
  const c10::InferenceMode inference;
  config_.mlp_hidden = 107;
  const ViTWeights weights = random_weights(config_);
  if (best_cpu_kernels(ProductType::kInt8, false) == nullptr) {
    GTEST_SKIP() << "no products of bytes beside float32";
  }
  const at::Tensor patches = random_patches(config_, 2);
  const at::Tensor expected = VisionTransformer(config_, weights).forward(patches).logits;
  const VisionTransformer model(config_, weights, at::kCPU, at::kChar);
  const at::Tensor found = model.forward(patches).logits;
  EXPECT_LE((found - expected).abs().max().item<double>(),
            0.05 * expected.abs().max().item<double>());
}

TEST_F(ModelInBytes, HasNoWeightsToChange) {
  VisionTransformer model(config_, weights_, at::kCPU, at::kChar);
  EXPECT_THROW(model.weights_changed(), Error);
}

TEST_F(ModelInBytes, RefusesWhatOnlyOperatorsKnow) {
  const c10::InferenceMode inference;
  const VisionTransformer model(config_, weights_, at::kCPU, at::kChar);
  ForwardOptions options;
  options.r = {8, 8, 8, 8};
  options.metric = Metric::kValues;
  EXPECT_THROW(model.forward(random_patches(config_, 1), options), Error);
  EXPECT_THROW(model.forward(random_patches(config_, 0)), Error);
}

}  // namespace
}  // namespace tome
