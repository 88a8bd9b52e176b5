#include "vit/clip_batch.h"

#include <ATen/ATen.h>

#include <map>
#include <numeric>

#include "merging/static_runs.h"

namespace tome {
namespace {

using Requests = std::vector<int64_t>;

/// The requests that run together.
std::vector<Requests> group(const at::Tensor& patches, const ViTConfig& config,
                            const ForwardOptions& options) {
  Requests all(static_cast<size_t>(patches.size(0)));
  std::iota(all.begin(), all.end(), 0);
  if (options.static_threshold < 0 || patches.size(1) == 1) return {all};
  const std::vector<int64_t> counts =
      count_static_runs(tubelets_of(patches, config.tubelet), options.static_threshold);
  std::map<int64_t, Requests> by_count;
  for (const int64_t i : all) by_count[counts[static_cast<size_t>(i)]].push_back(i);
  std::vector<Requests> groups;
  for (auto& [count, requests] : by_count) groups.push_back(std::move(requests));
  return groups;
}

}  // namespace

ClipBatchOutput forward_clips(const VisionTransformer& model, const at::Tensor& patches,
                              const ForwardOptions& options) {
  const int64_t batch = patches.size(0);
  ClipBatchOutput result;
  result.tokens_out.resize(static_cast<size_t>(batch));
  result.r.resize(static_cast<size_t>(batch));
  for (const Requests& requests : group(patches, model.config(), options)) {
    const bool whole = static_cast<int64_t>(requests.size()) == batch;
    const at::Tensor index = whole ? at::Tensor() : at::tensor(requests);
    const at::Tensor members = whole ? patches : patches.index_select(0, index);
    const ForwardOutput output = model.forward(members.to(model.device()), options);
    const at::Tensor logits = output.logits.to(at::kCPU, at::kFloat).contiguous();
    if (whole) {
      result.logits = logits;
    } else {
      if (!result.logits.defined()) result.logits = at::empty({batch, logits.size(1)});
      result.logits.index_copy_(0, index, logits);
    }
    result.tokens_in = output.tokens_in;
    for (const int64_t i : requests) {
      result.tokens_out[static_cast<size_t>(i)] = output.tokens_out;
      result.r[static_cast<size_t>(i)] = output.r;
    }
  }
  return result;
}

}  // namespace tome
