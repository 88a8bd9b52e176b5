#include "cuda/host_ops.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <utility>

#include "merging/match_request.h"
#include "merging/merge_request.h"
#include "vit/attention_request.h"
#include "vit/embed_request.h"
#include "vit/linear.h"
#include "vit/model.h"

namespace tome::testing {
namespace {

at::Tensor view(const void* data, at::IntArrayRef sizes, at::IntArrayRef strides,
                cuda::ElementType type) {
  return at::from_blob(const_cast<void*>(data), sizes, strides,
                       at::TensorOptions(scalar_type(type)));
}

/// The definition: there is no attention kernel for float32.
void attend_by_definition(const cuda::AttentionRequest& q) {
  const auto part = [&](const void* data) {
    return view(data, {q.batch, q.heads, q.tokens, q.dim},
                {q.sample_stride, q.head_stride, q.token_stride, 1}, q.type);
  };
  at::Tensor scores = at::matmul(part(q.q), part(q.k).transpose(2, 3)) * q.scale;
  if (q.key_weight != nullptr) {
    scores = scores + view(q.key_weight, {q.batch, 1, 1, q.tokens},
                           {q.weight_sample_stride, 0, 0, 1}, cuda::ElementType::kFloat32)
                          .log();
  }
  view(q.out, {q.batch, q.tokens, q.heads, q.dim},
       {int64_t{q.tokens} * q.heads * q.dim, int64_t{q.heads} * q.dim, q.dim, 1}, q.type)
      .copy_(at::matmul(scores.softmax(-1), part(q.v)).transpose(1, 2));
}

}  // namespace

void HostOps::product(const ProductRequest& q) {
  begin();
  const at::Tensor a = view(q.a, {q.rows, q.depth}, {q.a_stride, 1}, q.type).to(at::kFloat);
  const at::Tensor w = view(q.weight, {q.columns, q.depth}, {q.depth, 1}, q.type).to(at::kFloat);
  at::Tensor y = at::matmul(a, w.t());
  if (q.bias != nullptr) y = y + view(q.bias, {q.columns}, {1}, q.out_type);
  switch (q.activation) {
    case ProductActivation::kNone:
      break;
    case ProductActivation::kGelu:
      y = activate(y, Activation::kGelu);
      break;
    case ProductActivation::kGeluTanh:
      y = activate(y, Activation::kGeluTanh);
      break;
    case ProductActivation::kRelu:
      y = activate(y, Activation::kRelu);
      break;
  }
  const auto rows_of = [&](const void* data) {
    return view(data, {q.rows, q.columns}, {q.out_stride, 1}, q.out_type);
  };
  if (q.residual != nullptr) y = y + rows_of(q.residual);
  rows_of(q.out).copy_(y);
  ++products;
}

void HostOps::begin(Last operation) {
  if (held_back_) std::exchange(held_back_, nullptr)();
  last_ = operation;
}

void HostOps::expect_last(Last operation, cuda::LaunchOrder order) const {
  if (order == cuda::LaunchOrder::kBesideLast && last_ != operation) {
    throw std::logic_error("kBesideLast after an operation that nothing may run beside");
  }
}

void HostOps::expect_launched() const {
  const cuda::SaidByBlocks& said = launcher_.last_said();
  if (said.launched < said.blocks) throw std::logic_error("blocks without launch_dependents");
}

void HostOps::expect_waited() const {
  if (launcher_.last_said().waited == 0) {
    throw std::logic_error("a kernel beside another that does not wait for it");
  }
}

void HostOps::embed(const cuda::EmbedRequest& q) {
  begin();
  cuda::run_embed(launcher_, q);
}

void HostOps::attend(const cuda::AttentionRequest& q, cuda::LaunchOrder order) {
  expect_last(Last::kMatch, order);
  begin();
  if (q.type == cuda::ElementType::kFloat32) {
    attend_by_definition(q);
  } else if (way_ == AttentionWay::kGroups) {
    launch_next(order);
    if (!cuda::fits_warpgroups(q))
      throw std::logic_error("heads that warpgroups have no kernel for");
    cuda::run_group_attention(launcher_, q);
  } else {
    launch_next(order);
    cuda::run_attention(launcher_, q);
  }
  if (q.type != cuda::ElementType::kFloat32) expect_waited();
}

void HostOps::merge(const cuda::MergeRequest& q) {
  begin(q.split_follows ? Last::kNorm : Last::kOther);
  const auto run = [this, q] {
    cuda::run_merge(launcher_, q);
    if (q.split_follows) expect_launched();
  };
  if (q.split_follows && side_ == SideOrder::kLate) {
    held_back_ = run;
  } else {
    run();
  }
}

void HostOps::pool(const cuda::PoolRequest& q) {
  begin();
  cuda::run_pool(launcher_, q);
}

void HostOps::sources(const cuda::SourceParams& q) {
  begin();
  cuda::run_sources(launcher_, q);
}

void HostOps::clear(void* memory, size_t bytes) {
  begin();
  std::memset(memory, 0, bytes);
}

void HostOps::split(const cuda::PartitionParams& q, cuda::LaunchOrder order) {
  expect_last(Last::kNorm, order);
  launch_next(order);
  cuda::launch_partition(launcher_, q);
  expect_waited();
  begin();  // the LayerNorm that was held back, after the split
}

void HostOps::fork() {
  if (forked_) throw std::logic_error("fork after fork");
  forked_ = true;
}

void HostOps::match(const cuda::MatchRequest& q) {
  if (!forked_) throw std::logic_error("match outside fork and join");
  begin(Last::kMatch);
  const auto run = [this, q] {
    cuda::run_match(launcher_, q);
    expect_launched();
  };
  if (side_ == SideOrder::kLate) {
    waiting_ = run;
  } else {
    run();
  }
}

void HostOps::join() {
  if (!forked_) throw std::logic_error("join without fork");
  if (waiting_) std::exchange(waiting_, nullptr)();
  forked_ = false;
}

HostForward run_fused(const ViTConfig& config, const ViTWeights& weights, const at::Tensor& patches,
                      const std::vector<int64_t>& r, bool proportional, cuda::ElementType type,
                      SideOrder side, Partition partition, AttentionWay way,
                      cuda::ThreadOrder order) {
  std::vector<at::Tensor> kept;
  const FusedWeights fused =
      fuse_weights(config, weights, type, [&kept](const at::Tensor& t) -> const void* {
        kept.push_back(t.contiguous());
        return kept.back().data_ptr();
      });
  const int64_t batch = patches.size(0);
  const int64_t joint = config.frames == 1 ? patches.size(1) : 1;
  const FusedForward forward(fused, {batch, joint, r, proportional, partition});
  const at::Tensor rows = tubelets_of(patches, config.tubelet).to(scalar_type(type)).contiguous();
  // Nothing may depend on what was there before.
  const at::Tensor memory =
      at::full({static_cast<int64_t>(forward.workspace_bytes()) + 256}, 0xff, at::kByte);
  auto* aligned = reinterpret_cast<unsigned char*>(
      (reinterpret_cast<uintptr_t>(memory.data_ptr()) + 255) / 256 * 256);
  HostForward out;
  out.logits = at::full({batch, config.classes}, NAN);
  out.source = at::arange(forward.tokens_in()).expand({batch, -1}).contiguous();
  HostOps ops(side, way, order);
  forward.run(ops, rows.data_ptr(), aligned, out.logits.data_ptr<float>(),
              out.source.data_ptr<int64_t>());
  out.r = forward.r();
  out.launches = ops.launches();
  out.products = ops.products;
  return out;
}

}  // namespace tome::testing
