#include "engine/aten_session.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "merging/static_runs.h"
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

AtenSession::AtenSession(std::shared_ptr<const VisionTransformer> model, PreprocessSpec spec,
                         ForwardOptions options)
    : model_(std::move(model)), spec_(spec), options_(std::move(options)) {
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

void AtenSession::run(const at::Tensor& patches, const ForwardOptions& options,
                      std::span<const int64_t> into, BatchOutput& result) const {
  const ForwardOutput output = model_->forward(patches.to(model_->device()), options);
  const at::Tensor logits = output.logits.to(at::kCPU, at::kFloat).contiguous();
  const int64_t classes = logits.size(1);
  const float* data = logits.const_data_ptr<float>();
  result.classes = classes;
  result.logits.resize(result.tokens_out.size() * static_cast<size_t>(classes));
  result.tokens_in = output.tokens_in;
  for (size_t i = 0; i < into.size(); ++i) {
    std::copy_n(data + static_cast<int64_t>(i) * classes, classes,
                result.logits.begin() + into[i] * classes);
    result.tokens_out[static_cast<size_t>(into[i])] = output.tokens_out;
  }
}

BatchOutput AtenSession::forward(const BatchInput& input) {
  const at::Tensor patches =
      gather(input.frames).view({input.batch, input.frames_per_request, rows_, columns_});
  ForwardOptions options = options_;
  options.r = input.r;
  options.prop_attn = input.prop_attn;
  options.partition = input.partition;
  BatchOutput result;
  result.tokens_out.resize(static_cast<size_t>(input.batch));
  std::vector<int64_t> all(static_cast<size_t>(input.batch));
  std::iota(all.begin(), all.end(), 0);
  if (input.static_threshold < 0 || input.frames_per_request == 1) {
    run(patches, options, all, result);
    return result;
  }
  options.static_threshold = normalised_levels(input.static_threshold, spec_);
  // Note [A still clip among moving ones]: clips that can merge equally many static patches run
  // together, so that none pays for another's motion.
  const std::vector<int64_t> counts =
      count_static_runs(tubelets_of(patches, model_->config().tubelet), options.static_threshold);
  std::map<int64_t, std::vector<int64_t>> groups;
  for (const int64_t i : all) groups[counts[static_cast<size_t>(i)]].push_back(i);
  for (const auto& [count, members] : groups) {
    const bool whole = members.size() == all.size();
    run(whole ? patches : patches.index_select(0, at::tensor(members)), options, members, result);
  }
  return result;
}

}  // namespace tome
