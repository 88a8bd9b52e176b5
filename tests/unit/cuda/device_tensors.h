// Tensors on a device, and a matching and a merge of them there, as match_with_kernels and
// merge_with_kernel do it on the host.
#pragma once

#include <ATen/ATen.h>

#include "cuda/device.h"
#include "cuda/match_runner.h"
#include "merging/match_cuda.h"
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

/// A plan there, and what came back of it.
struct DeviceMatching {
  KernelMatching plan;
  cuda::DeviceMemory member_begin, members;
};

/// @param metric  [B, N, C] on the host, contiguous
/// @param options  of alternating halves; the first tokens are protected
/// @param replays  in one workspace, as a graph's are
inline DeviceMatching match_on_device(const at::Tensor& metric, const MatchOptions& options,
                                      int replays = 1) {
  TORCH_CHECK(options.partition == Partition::kAlternating && metric.is_contiguous());
  const Halves halves = split_tokens(metric.size(0), metric.size(1), options);
  DeviceMatching out{unfilled_plan(metric, options), {}, {}};
  const Matching& plan = out.plan.matching;
  const cuda::DeviceMemory keys = on_device(metric), target = on_device(plan.target),
                           source = on_device(plan.source),
                           destination = on_device(plan.destination);
  out.member_begin = on_device(out.plan.member_begin);
  out.members = on_device(out.plan.members);
  cuda::MatchRequest q;
  q.metric = keys.data();
  q.type = element_type(metric.scalar_type());
  q.sample_stride = metric.stride(0);
  q.token_stride = metric.stride(1);
  q.batch = static_cast<int>(metric.size(0));
  q.tokens = static_cast<int>(metric.size(1));
  q.channels = static_cast<int>(metric.size(2));
  q.r = static_cast<int>(plan.r());
  q.halves.n_a = static_cast<int>(halves.a.size(1));
  q.halves.n_b = static_cast<int>(halves.b.size(1));
  q.halves.n_fixed = static_cast<int>(options.protected_tokens.size());
  q.halves.a_first = static_cast<int>(halves.a[0][0].item<int64_t>());
  q.halves.b_first = static_cast<int>(halves.b[0][0].item<int64_t>());
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

struct DeviceMerge {
  at::Tensor x, size;  // float32
};

/// By the plan that lies there. @param x  float32 [B, N, C]  @param size  undefined: ones
inline DeviceMerge merge_on_device(const at::Tensor& x, const at::Tensor& size,
                                   const DeviceMatching& by) {
  const int64_t batch = x.size(0), tokens_out = by.plan.matching.tokens_out;
  const DeviceMerge out{at::full({batch, tokens_out, x.size(2)}, NAN),
                        at::full({batch, tokens_out}, NAN)};
  const cuda::DeviceMemory x_in = on_device(x), x_out = on_device(out.x),
                           size_out = on_device(out.size);
  cuda::DeviceMemory size_in;
  if (size.defined()) size_in = on_device(size);
  cuda::MergeRequest m;
  m.type = cuda::ElementType::kFloat32;
  m.x = x_in.data();
  m.size = size_in.as<float>();
  m.x_out = x_out.data();
  m.size_out = size_out.as<float>();
  m.member_begin = by.member_begin.as<int32_t>();
  m.members = by.members.as<int32_t>();
  m.batch = static_cast<int>(batch);
  m.tokens_in = static_cast<int>(x.size(1));
  m.tokens_out = static_cast<int>(tokens_out);
  m.channels = static_cast<int>(x.size(2));
  cuda::merge_tokens(m, nullptr);
  cuda::synchronise(nullptr);
  download(x_out, out.x);
  download(size_out, out.size);
  return out;
}

}  // namespace tome::testing
