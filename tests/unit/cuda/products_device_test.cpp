// Matrix products on a device against their definition.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/device_tensors.h"
#include "cuda/needs_device.h"
#include "cuda/stream.h"
#include "vit/product_cuda.h"

namespace tome::testing {
namespace {

/// Of a product on the device over that by definition.
double product_distance(const at::Tensor& a, const at::Tensor& weight, ProductActivation activation,
                        bool residual, bool tune) {
  const int64_t rows = a.size(0), depth = a.size(1), columns = weight.size(0);
  const at::Tensor bias = at::randn({columns}).to(at::kBFloat16);
  const at::Tensor added = at::randn({rows, columns}).to(at::kBFloat16);
  const cuda::DeviceMemory device_a = on_device(a), device_weight = on_device(weight);
  const cuda::DeviceMemory device_bias = on_device(bias);
  cuda::DeviceMemory out = on_device(added);
  ProductRequest q;
  q.a = device_a.data();
  q.weight = device_weight.data();
  q.bias = device_bias.data();
  q.residual = residual ? out.data() : nullptr;
  q.out = out.data();
  q.a_stride = q.depth = depth;
  q.out_stride = q.columns = columns;
  q.rows = rows;
  q.activation = activation;
  cuda::MatrixProducts products;
  const cuda::OwnedStream stream;
  if (tune) {
    products.tune(q, stream.get());
    out.upload(added.data_ptr(), added.nbytes());
  }
  products.run(q, stream.get());
  cuda::synchronise(stream.get());
  const at::Tensor got = at::empty_like(added);
  out.download(got.data_ptr(), got.nbytes());
  at::Tensor expected = at::linear(a.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  if (activation == ProductActivation::kGeluTanh) expected = at::gelu(expected, "tanh");
  if (residual) expected = expected + added.to(at::kDouble);
  return distance(got, expected);
}

double product_distance(int64_t rows, int64_t depth, int64_t columns, ProductActivation activation,
                        bool residual, bool tune) {
  at::manual_seed(static_cast<uint64_t>(rows + depth));
  const at::Tensor a = at::randn({rows, depth}).to(at::kBFloat16);
  const at::Tensor weight = (at::randn({columns, depth}) / std::sqrt(depth)).to(at::kBFloat16);
  return product_distance(a, weight, activation, residual, tune);
}

TEST(Device, ProductsEqualTheDefinition) {
  TOME_NEEDS_DEVICE();
  for (const bool tune : {false, true}) {
    for (const int64_t rows : {1, 197, 1576}) {
      const auto none = ProductActivation::kNone, gelu = ProductActivation::kGeluTanh;
      EXPECT_LE(product_distance(rows, 192, 640, none, false, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 192, 192, none, true, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 192, 768, gelu, false, tune), 4e-3) << rows;
      EXPECT_LE(product_distance(rows, 768, 192, none, true, tune), 4e-3) << rows;
      // Patches of 14 x 14: rows that are no multiple of 16 bytes.
      EXPECT_LE(product_distance(rows, 588, 384, none, false, tune), 4e-3) << rows;
    }
  }
}

/// The two halves of depth sum to about 39 and -39, and together to about 1: one of them rounded to
/// 16 bits, where an algorithm splits the sum, makes a distance of 0.04.
TEST(Device, ProductsAddPartialSumsInFloat) {
  TOME_NEEDS_DEVICE();
  constexpr int64_t kHalf = 1536, kColumns = 768;
  for (const bool tune : {false, true}) {
    for (const int64_t rows : {1, 197}) {
      for (const bool residual : {false, true}) {
        at::manual_seed(static_cast<uint64_t>(rows));
        const at::Tensor a = at::randn({rows, kHalf}).to(at::kBFloat16).repeat({1, 2});
        const at::Tensor first = at::randn({kColumns, kHalf}).to(at::kBFloat16);
        const at::Tensor rest = at::randn({kColumns, kHalf}) / std::sqrt(kHalf);
        const at::Tensor weight = at::cat({first, (rest - first).to(at::kBFloat16)}, 1);
        const double off = product_distance(a, weight, ProductActivation::kNone, residual, tune);
        EXPECT_LE(off, 4e-3) << rows << (tune ? ", tuned" : "") << (residual ? ", added" : "");
      }
    }
  }
}

}  // namespace
}  // namespace tome::testing
