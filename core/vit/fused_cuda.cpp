#include "vit/fused_cuda.h"

#include <algorithm>
#include <exception>

#include "cuda/device.h"

namespace tome::cuda {

CudaOps::CudaOps(Matching matching) {
  if (matching == Matching::kInTurn) return;
  dependent_ = matching == Matching::kBeside && has_dependent_launches();
  if (!dependent_) side_.emplace();
}

LaunchOrder CudaOps::order_of(LaunchOrder asked) const {
  return dependent_ ? asked : LaunchOrder::kInTurn;
}

void CudaOps::product(const ProductRequest& q) { products_.run(q, main_.get()); }
void CudaOps::embed(const EmbedRequest& q) { embed_tokens(q, main_.get()); }
void CudaOps::attend(const AttentionRequest& q, LaunchOrder order) {
  cuda::attend(q, main_.get(), order_of(order));
}
void CudaOps::merge(const MergeRequest& q) { merge_tokens(q, main_.get()); }
void CudaOps::pool(const PoolRequest& q) { pool_tokens(q, main_.get()); }
void CudaOps::sources(const SourceParams& q) { merge_sources(q, main_.get()); }
void CudaOps::clear(void* memory, size_t bytes) { clear_on_device(memory, bytes, main_.get()); }

void CudaOps::split(const PartitionParams& q, LaunchOrder order) {
  if (!side_) return split_by_parity(q, main_.get(), order_of(order));
  forked_.order(main_.get(), side_->get());  // the matching that follows is there, too
  split_by_parity(q, side_->get());
}

void CudaOps::fork() {
  if (side_) forked_.order(main_.get(), side_->get());
}

void CudaOps::match(const MatchRequest& q) { match_tokens(q, side_ ? side_->get() : main_.get()); }

void CudaOps::join() {
  if (side_) joined_.order(side_->get(), main_.get());
}

void CudaOps::rejoin() noexcept {
  try {
    join();
  } catch (const std::exception&) {  // a lost device runs nothing any more
  }
}

template <class F>
void TimedOps::time(const char* name, F&& enqueue) {
  Span span{name, Event(Event::Kind::kTiming), Event(Event::Kind::kTiming)};
  span.begin.record(ops_.stream());
  enqueue();
  span.end.record(ops_.stream());
  spans_.push_back(std::move(span));
}

void TimedOps::product(const ProductRequest& q) {
  time("products", [&] { ops_.product(q); });
}
void TimedOps::embed(const EmbedRequest& q) {
  time("embedding", [&] { ops_.embed(q); });
}
void TimedOps::attend(const AttentionRequest& q, LaunchOrder order) {
  time("attention", [&] { ops_.attend(q, order); });
}
void TimedOps::merge(const MergeRequest& q) {
  time(q.members != nullptr ? "merge and LayerNorm" : "LayerNorm", [&] { ops_.merge(q); });
}
void TimedOps::pool(const PoolRequest& q) {
  time("pooling", [&] { ops_.pool(q); });
}
void TimedOps::sources(const SourceParams& q) {
  time("sources", [&] { ops_.sources(q); });
}
void TimedOps::clear(void* memory, size_t bytes) {
  time("clearing counters", [&] { ops_.clear(memory, bytes); });
}
void TimedOps::split(const PartitionParams& q, LaunchOrder order) {
  time("splitting", [&] { ops_.split(q, order); });
}
void TimedOps::match(const MatchRequest& q) {
  time("matching", [&] { ops_.match(q); });
}

std::vector<OperationTime> TimedOps::times() const {
  synchronise(ops_.stream());
  std::vector<OperationTime> out;
  for (const Span& span : spans_) {
    auto found = std::find_if(out.begin(), out.end(),
                              [&](const OperationTime& t) { return t.name == span.name; });
    if (found == out.end()) found = out.insert(out.end(), OperationTime{span.name});
    ++found->calls;
    found->milliseconds += span.end.milliseconds_since(span.begin);
  }
  return out;
}

}  // namespace tome::cuda
