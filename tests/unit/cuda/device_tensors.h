// Tensors on a device, and a matching and a merge of them there, as match_with_kernels and
// merge_with_kernel do it on the host.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstddef>
#include <vector>

#include "cuda/device.h"
#include "cuda/match_runner.h"
#include "merging/match_cuda.h"
#include "merging/merge.h"
#include "merging/merge_cuda.h"
#include "merging/partition.h"

namespace tome::testing {

inline cuda::DeviceMemory on_device(const at::Tensor& t) {
  cuda::DeviceMemory memory(t.nbytes(), "test");
  memory.upload(t.data_ptr(), t.nbytes());
  return memory;
}

inline void download(const cuda::DeviceMemory& memory, const at::Tensor& to) {
  memory.download(to.data_ptr(), to.nbytes());
}

inline cuda::ElementType element_type(at::ScalarType type) {
  if (type == at::kFloat) return cuda::ElementType::kFloat32;
  return type == at::kHalf ? cuda::ElementType::kFloat16 : cuda::ElementType::kBfloat16;
}

/// |got - expected| / |expected|
inline double distance(const at::Tensor& got, const at::Tensor& expected) {
  return ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Halves there: lists, or arithmetic where the session's would be.
struct DeviceHalves {
  cuda::HalvesView view;
  cuda::DeviceMemory a, b, fixed;
};

inline DeviceHalves halves_on_device(int64_t batch, int64_t tokens, const MatchOptions& options) {
  const Halves halves = split_tokens(batch, tokens, options);
  const std::vector<int64_t>& fixed = options.protected_tokens;
  DeviceHalves out;
  const bool prefix = fixed.empty() || fixed.back() + 1 == static_cast<int64_t>(fixed.size());
  if (!prefix || options.partition != Partition::kAlternating) {
    out.a = on_device(halves.a.contiguous());
    out.b = on_device(halves.b.contiguous());
  }
  out.view = view_of(halves, options, out.a.as<int64_t>(), out.b.as<int64_t>());
  if (!prefix) {
    out.fixed = on_device(at::tensor(fixed, at::kLong));
    out.view.fixed = out.fixed.as<int64_t>();
  }
  return out;
}

/// A plan there, and what came back of it.
struct DeviceMatching {
  KernelMatching plan;
  cuda::DeviceMemory member_begin, members;
};

/// @param metric  [B, N, C] on the host, channels contiguous; strides are kept
/// @param replays  in one workspace, as a graph's are
inline DeviceMatching match_on_device(const at::Tensor& metric, const MatchOptions& options,
                                      int replays = 1) {
  TORCH_CHECK(metric.stride(2) == 1);
  DeviceMatching out{unfilled_plan(metric, options), {}, {}};
  const Matching& plan = out.plan.matching;
  const DeviceHalves halves = halves_on_device(metric.size(0), metric.size(1), options);
  cuda::DeviceMemory keys(metric.storage().nbytes(), "test");
  keys.upload(metric.storage().data(), metric.storage().nbytes());
  const cuda::DeviceMemory target = on_device(plan.target), source = on_device(plan.source),
                           destination = on_device(plan.destination);
  out.member_begin = on_device(out.plan.member_begin);
  out.members = on_device(out.plan.members);
  cuda::MatchRequest q;
  q.metric = keys.as<std::byte>() + metric.storage_offset() * metric.element_size();
  q.type = element_type(metric.scalar_type());
  q.sample_stride = metric.stride(0);
  q.token_stride = metric.stride(1);
  q.batch = static_cast<int>(metric.size(0));
  q.tokens = static_cast<int>(metric.size(1));
  q.channels = static_cast<int>(metric.size(2));
  q.r = static_cast<int>(plan.r());
  q.similarity = static_cast<cuda::KeySimilarity>(options.similarity);
  q.halves = halves.view;
  q.out = {target.as<int64_t>(), source.as<int64_t>(), destination.as<int64_t>(),
           out.member_begin.as<int32_t>(), out.members.as<int32_t>()};
  const cuda::DeviceMemory workspace(cuda::match_workspace_bytes(q.batch, q.halves.n_a, q.r),
                                     "test");
  q.workspace = workspace.data();
  for (int i = 0; i < replays; ++i) cuda::match_tokens(q, nullptr);
  cuda::synchronise(nullptr);
  download(target, plan.target);
  download(source, plan.source);
  download(destination, plan.destination);
  download(out.member_begin, out.plan.member_begin);
  download(out.members, out.plan.members);
  return out;
}

/// What is merged there; undefined tensors are left out.
struct DeviceMergeInput {
  at::Tensor x = {};                            ///< [B, N, C], contiguous
  at::Tensor size = {};                         ///< float32 [B, N]
  at::Tensor norm_weight = {}, norm_bias = {};  ///< float32 [C]
  Combine combine = Combine::kWeightedMean;
  bool shifted = false;  ///< x begins where its rows cannot move in quads
};

struct DeviceMerge {
  at::Tensor x, norm;  // of the input's type; norm undefined without a LayerNorm
  at::Tensor size;     // float32
};

/// By the plan that lies there.
inline DeviceMerge merge_on_device(const DeviceMergeInput& in, const DeviceMatching& by) {
  const auto if_defined = [](const at::Tensor& t) {
    return t.defined() ? on_device(t) : cuda::DeviceMemory();
  };
  const int64_t batch = in.x.size(0), tokens_out = by.plan.matching.tokens_out;
  DeviceMerge out{at::full({batch, tokens_out, in.x.size(2)}, NAN, in.x.options()),
                  {},
                  at::full({batch, tokens_out}, NAN)};
  if (in.norm_weight.defined()) out.norm = at::full_like(out.x, NAN);
  const at::Tensor row = in.x.flatten();
  const cuda::DeviceMemory x_in = on_device(in.shifted ? at::cat({row.slice(0, 0, 1), row}) : row),
                           size_in = if_defined(in.size), weight = if_defined(in.norm_weight),
                           bias = if_defined(in.norm_bias), x_out = on_device(out.x),
                           norm_out = if_defined(out.norm), size_out = on_device(out.size);
  cuda::MergeRequest m;
  m.type = element_type(in.x.scalar_type());
  m.x = x_in.as<std::byte>() + (in.shifted ? in.x.element_size() : 0);
  m.size = size_in.as<float>();
  m.x_out = x_out.data();
  m.size_out = size_out.as<float>();
  m.member_begin = by.member_begin.as<int32_t>();
  m.members = by.members.as<int32_t>();
  m.norm_weight = weight.as<float>();
  m.norm_bias = bias.as<float>();
  m.norm_out = norm_out.data();
  m.batch = static_cast<int>(batch);
  m.tokens_in = static_cast<int>(in.x.size(1));
  m.tokens_out = static_cast<int>(tokens_out);
  m.channels = static_cast<int>(in.x.size(2));
  m.combine = static_cast<cuda::MergeCombine>(in.combine);
  cuda::merge_tokens(m, nullptr);
  cuda::synchronise(nullptr);
  download(x_out, out.x);
  download(size_out, out.size);
  if (out.norm.defined()) download(norm_out, out.norm);
  return out;
}

}  // namespace tome::testing
