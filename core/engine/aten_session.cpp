#include "engine/aten_session.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>

#include "vit/clip_batch.h"
#include "vit/cpu_team.h"

namespace tome {
namespace {

bool is_next(const at::Tensor& before, const at::Tensor& next) {
  return before.storage().is_alias_of(next.storage()) &&
         next.storage_offset() == before.storage_offset() + before.numel();
}

/// [n, rows, columns] of all frames: a view where they were pre-processed together, else a copy.
at::Tensor gather(const std::vector<PatchesPtr>& frames) {
  const at::Tensor& first = frames.front()->rows;
  bool adjacent = true;
  for (size_t i = 1; i < frames.size(); ++i) {
    adjacent = adjacent && is_next(frames[i - 1]->rows, frames[i]->rows);
  }
  const auto n = static_cast<int64_t>(frames.size());
  if (adjacent) {
    return first.as_strided({n, first.size(0), first.size(1)}, {first.numel(), first.size(1), 1});
  }
  std::vector<at::Tensor> rows;
  rows.reserve(frames.size());
  for (const PatchesPtr& frame : frames) rows.push_back(frame->rows);
  return at::stack(rows);
}

}  // namespace

AtenSession::AtenSession(std::shared_ptr<const VisionTransformer> model, PreprocessSpec spec)
    : model_(std::move(model)), spec_(spec) {
  const ViTConfig& config = model_->config();
  rows_ = config.grid_rows() * config.grid_cols();
  columns_ = 3 * config.patch * config.patch;
}

void AtenSession::preprocess(std::span<PreprocessJob> jobs) {
  const auto n = static_cast<int64_t>(jobs.size());
  const at::Tensor all = at::empty({n, rows_, columns_}, at::kFloat);
  float* data = all.mutable_data_ptr<float>();
  const auto patch = static_cast<int32_t>(model_->config().patch);
  // Not OpenMP: its threads go on spinning for milliseconds, which the decoder could have used.
  LentTeam team(static_cast<int>(std::min<int64_t>(n, at::get_num_threads())));
  team->for_each(n, [&](int64_t i, int) {
    PreprocessJob& job = jobs[static_cast<size_t>(i)];
    try {
      preprocess_to_patches(*job.frame, spec_, patch, data + i * rows_ * columns_);
    } catch (...) {
      job.error = std::current_exception();
    }
  });
  for (int64_t i = 0; i < n; ++i) {
    jobs[static_cast<size_t>(i)].patches =
        std::make_shared<const Patches>(Patches{all.select(0, i)});
  }
}

PatchesPtr AtenSession::preprocess_one(const Frame& frame) {
  const c10::InferenceMode inference;
  at::Tensor rows = at::empty({rows_, columns_}, at::kFloat);
  preprocess_to_patches(frame, spec_, static_cast<int32_t>(model_->config().patch),
                        rows.mutable_data_ptr<float>());
  return std::make_shared<const Patches>(Patches{std::move(rows)});
}

BatchOutput AtenSession::forward(const BatchInput& input) {
  const at::Tensor patches =
      gather(input.frames).view({input.batch, input.frames_per_request, rows_, columns_});
  ForwardOptions options;
  options.r = input.r;
  options.prop_attn = input.prop_attn;
  options.partition = input.partition;
  if (input.static_threshold >= 0) {
    options.static_threshold = normalised_levels(input.static_threshold, spec_);
  }
  ClipBatchOutput output = forward_clips(*model_, patches, options);
  BatchOutput result;
  result.classes = output.logits.size(1);
  const float* data = output.logits.const_data_ptr<float>();
  result.logits.assign(data, data + output.logits.numel());
  result.tokens_in = output.tokens_in;
  result.tokens_out = std::move(output.tokens_out);
  return result;
}

}  // namespace tome
