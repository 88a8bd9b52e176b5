// Whole forwards on a real device (suite gpu): what runs beside what, and graphs, change nothing.
// Skipped, with the reason, where there is none.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/device_fixtures.h"
#include "cuda/device_tensors.h"
#include "cuda/graph.h"
#include "vit/fused_cuda.h"
#include "vit/fused_forward.h"

namespace tome::testing {
namespace {

using cuda::CudaOps;

/// A forward with its memory there.
class Prepared {
 public:
  Prepared(const Model& model, FusedShape shape)
      : forward_(model.on_device->weights, std::move(shape)),
        patches_(on_device(
            at::randn({forward_.shape().batch * forward_.patch_rows(), forward_.patch_columns()})
                .to(scalar_type(model.type)))),
        workspace_(forward_.workspace_bytes(), "test"),
        logits_(on_device(at::zeros({forward_.shape().batch, model.config.classes}))),
        got_(at::zeros({forward_.shape().batch, model.config.classes})) {}

  void clear() {
    const at::Tensor zeros = at::zeros_like(got_);
    logits_.upload(zeros.data_ptr(), zeros.nbytes());
  }

  void enqueue(CudaOps& ops) {
    ops.restart_counters();
    forward_.run(ops, patches_.data(), workspace_.data(), logits_.as<float>());
  }

  at::Tensor run(CudaOps& ops) {
    clear();
    enqueue(ops);
    return result(ops);
  }

  /// The logits of each of some replays of one graph.
  std::vector<at::Tensor> replays(CudaOps& ops, int n) {
    const cuda::Graph graph(
        ops.stream(), [&] { enqueue(ops); }, ops.counters());
    std::vector<at::Tensor> results;
    for (int i = 0; i < n; ++i) {
      clear();
      results.push_back((graph.launch(ops.stream()), result(ops)));
    }
    return results;
  }

 private:
  at::Tensor result(CudaOps& ops) {
    cuda::synchronise(ops.stream());
    download(logits_, got_);
    return got_.clone();
  }

  FusedForward forward_;
  cuda::DeviceMemory patches_, workspace_, logits_;
  at::Tensor got_;
};

void expect_the_same_beside(const ViTConfig& config, FusedShape shape, int replays = 50) {
  const Model model(config);
  Prepared prepared(model, std::move(shape));
  CudaOps in_turn(CudaOps::Matching::kInTurn);
  const at::Tensor expected = prepared.run(in_turn);
  ASSERT_TRUE(expected.isfinite().all().item<bool>());
  for (const auto way : {CudaOps::Matching::kBeside, CudaOps::Matching::kBesideByStream}) {
    CudaOps ops(way);
    EXPECT_TRUE(at::equal(prepared.run(ops), expected)) << static_cast<int>(way);
    int differ = 0;
    for (const at::Tensor& got : prepared.replays(ops, replays)) {
      differ += !at::equal(got, expected);
    }
    EXPECT_EQ(differ, 0) << "of " << replays << " replays, way " << static_cast<int>(way);
  }
}

TEST(ForwardOnDevice, WhatRunsBesideOthersChangesNothing) {
  TOME_NEEDS_DEVICE();
  const c10::InferenceMode inference;
  ViTConfig pre_norm = small();
  pre_norm.pre_norm = true;
  ViTConfig narrow = small(), wide = small();  // heads that have no warpgroups' kernel
  narrow.heads = 4;
  wide.heads = 1;
  for (const ViTConfig& config : {small(), pre_norm, narrow, wide}) {
    SCOPED_TRACE("heads " + std::to_string(config.heads));
    expect_the_same_beside(config, {40, 1, {8, 0, 13}});
    expect_the_same_beside(config, {3, 1, {1000, 1000, 1000}});
  }
  for (const Partition partition : {Partition::kCheckerboard, Partition::kByFrame}) {
    expect_the_same_beside(on_clips(small(), 16), {5, 1, {200, 0, 90}, true, partition});
    expect_the_same_beside(pre_norm, {2, 3, {40, 20, 7}, true, partition});
  }
  // More A tokens than one launch of matching orders.
  expect_the_same_beside(on_clips(small(), 160),
                         {1, 1, {500, 30, 1}, true, Partition::kAlternating});
}

/// Each kernel of a forward a few times: what compute-sanitizer has the time for.
TEST(ShortForwardOnDevice, WhatRunsBesideOthersChangesNothing) {
  TOME_NEEDS_DEVICE();
  const c10::InferenceMode inference;
  ViTConfig narrow = small();
  narrow.heads = 4;
  expect_the_same_beside(small(), {3, 1, {8, 0, 13}}, 2);
  expect_the_same_beside(narrow, {2, 1, {1000, 1000, 1000}}, 2);
  expect_the_same_beside(on_clips(small(), 4), {2, 1, {20, 0, 9}, true, Partition::kCheckerboard},
                         2);
}

/// Products of one forward more than there are counters, and counters that two products share.
TEST(ForwardOnDevice, CountersOfAGraphAreEachProductsOwn) {
  TOME_NEEDS_DEVICE();
  constexpr int64_t kRows = 3000, kDepth = 256, kColumns = 640;
  const auto noise = [](int64_t rows, int64_t columns) {
    return on_device(at::randn({rows, columns}).to(at::kBFloat16));
  };
  const cuda::DeviceMemory a = noise(kRows, kDepth), weight = noise(kColumns, kDepth);
  ProductRequest q;
  q.a = a.data();
  q.weight = weight.data();
  q.a_stride = q.depth = kDepth;
  q.out_stride = q.columns = kColumns;
  q.rows = kRows;
  cuda::MatrixProducts products;
  const cuda::OwnedStream stream;
  const at::Tensor nothing = at::zeros({kRows, kColumns}, at::kBFloat16);
  const auto contents = [&](const cuda::DeviceMemory& memory) {
    at::Tensor tensor = at::empty_like(nothing);
    download(memory, tensor);
    return tensor;
  };
  // Outputs of their own for some; the others share the last.
  const std::vector<int> watched{0,
                                 1,
                                 2,
                                 cuda::MatrixProducts::kMostProducts - 1,
                                 cuda::MatrixProducts::kMostProducts,
                                 cuda::MatrixProducts::kMostProducts + 2};
  std::vector<cuda::DeviceMemory> outs;
  for (size_t i = 0; i <= watched.size(); ++i) outs.push_back(on_device(nothing));
  q.out = outs.back().data();
  products.run(q, stream.get());
  cuda::synchronise(stream.get());
  const at::Tensor expected = contents(outs.back());
  ASSERT_FALSE(at::equal(expected, nothing));
  for (const bool shared : {false, true}) {
    products.restart_counters();
    const cuda::Graph graph(
        stream.get(),
        [&] {
          for (int i = 0; i <= watched.back(); ++i) {
            if (shared) products.restart_counters();
            const auto found = std::find(watched.begin(), watched.end(), i);
            q.out = outs[static_cast<size_t>(found - watched.begin())].data();
            products.run(q, stream.get());
          }
        },
        products.counters());
    for (int replay = 0; replay < 3; ++replay) {
      for (cuda::DeviceMemory& out : outs) out.upload(nothing.data_ptr(), nothing.nbytes());
      graph.launch(stream.get());
      cuda::synchronise(stream.get());
      for (size_t i = 0; i < outs.size(); ++i) {
        EXPECT_TRUE(at::equal(contents(outs[i]), expected))
            << "output " << i << ", replay " << replay << ", shared " << shared;
      }
    }
  }
}

}  // namespace
}  // namespace tome::testing
