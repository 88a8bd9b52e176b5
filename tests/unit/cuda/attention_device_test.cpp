// Attention on a device against its definition.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cuda/device_tensors.h"
#include "cuda/needs_device.h"
#include "vit/attention_cuda.h"

namespace tome::testing {
namespace {

/// Of attention on the device over that by definition, on the rows of a random QKV product.
double attention_distance(int64_t tokens, int64_t dim, at::ScalarType type, bool weighted,
                          bool tiles_only) {
  at::manual_seed(static_cast<uint64_t>(dim + tokens));
  const int64_t heads = 3;
  const at::Tensor rows = at::randn({2, tokens, 3, heads, dim}).to(type);
  const at::Tensor weight = at::randint(1, 60, {2, tokens}, at::kFloat);
  const cuda::DeviceMemory device_rows = on_device(rows), device_weight = on_device(weight);
  const at::Tensor out = at::full({2, tokens, heads * dim}, NAN, rows.options());
  const cuda::DeviceMemory device_out = on_device(out);
  cuda::AttentionRequest q;
  q.type = element_type(type);
  q.q = device_rows.data();
  q.k = device_rows.as<uint16_t>() + heads * dim;
  q.v = device_rows.as<uint16_t>() + 2 * heads * dim;
  q.sample_stride = rows.stride(0);
  q.token_stride = rows.stride(1);
  q.head_stride = dim;
  q.key_weight = weighted ? device_weight.as<float>() : nullptr;
  q.weight_sample_stride = tokens;
  q.out = device_out.data();
  q.batch = 2;
  q.tokens = static_cast<int>(tokens);
  q.heads = static_cast<int>(heads);
  q.dim = static_cast<int>(dim);
  q.scale = 1.0F / std::sqrt(static_cast<float>(dim));
  q.tiles_only = tiles_only;
  cuda::attend(q, nullptr);
  cuda::synchronise(nullptr);
  download(device_out, out);
  const at::Tensor wide = rows.to(at::kDouble).permute({2, 0, 3, 1, 4});
  at::Tensor scores = at::matmul(wide[0], wide[1].transpose(2, 3)) / std::sqrt(dim);
  if (weighted) scores = scores + weight.to(at::kDouble).log().unsqueeze(1).unsqueeze(1);
  return distance(out, at::matmul(scores.softmax(-1), wide[2]).transpose(1, 2).flatten(2));
}

void expect_attention_of(at::ScalarType type, double tolerance) {
  for (const int64_t dim : {32, 64, 80, 128}) {
    for (const int64_t tokens : {1, 17, 61, 128, 197, 577, 1568}) {
      for (const bool weighted : {false, true}) {
        for (const bool tiles_only : {false, true}) {
          EXPECT_LE(attention_distance(tokens, dim, type, weighted, tiles_only), tolerance)
              << tokens << " tokens, heads of " << dim << (weighted ? ", weighted" : "")
              << (tiles_only ? ", by tiles" : "");
        }
      }
    }
  }
}

/// Up to rounding of probabilities and of the result.
TEST(Device, AttentionEqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  expect_attention_of(at::kBFloat16, 5e-3);
}

TEST(Device, AttentionInFp16EqualsTheDefinition) {
  TOME_NEEDS_DEVICE();
  expect_attention_of(at::kHalf, 8e-4);
}

}  // namespace
}  // namespace tome::testing
