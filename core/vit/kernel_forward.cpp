#include "vit/kernel_forward.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include "merging/schedule.h"
#include "merging/static_runs.h"
#include "vit/first_tokens.h"

namespace tome {

bool kernels_apply(const at::Tensor& patches, const ForwardOptions& options) {
  const bool differentiates = c10::GradMode::is_enabled() && patches.requires_grad();
  return !options.plain && !options.trace && options.drop_path <= 0 &&
         options.metric == Metric::kKeys && options.similarity == Similarity::kCosine &&
         options.partition != Partition::kRandom && options.method == MergeMethod::kBipartite &&
         options.combine == Combine::kWeightedMean && !differentiates;
}

ForwardOutput forward_on_kernels(const CpuForward& cpu, const ViTConfig& config,
                                 const at::Tensor& patches, const ForwardOptions& options) {
  const at::Tensor rows = patches.to(at::kCPU, at::kFloat).contiguous();
  CpuRun run;
  run.patches = rows.const_data_ptr<float>();
  run.batch = rows.size(0);
  run.frames = rows.size(1);
  run.threads = at::get_num_threads();
  run.proportional = is_proportional(options.prop_attn, config);
  run.partition = options.partition.value_or(default_partition(run.frames));
  const FirstTokens first(config, run.frames);
  const int64_t prefix = first.prefix;
  ForwardOutput output;
  int64_t tokens = output.tokens_in = first.count();
  Matching still;
  if (options.static_threshold >= 0 && run.frames > 1) {
    still = match_static_runs(tubelets_of(rows, config.tubelet), options.static_threshold, prefix);
    if (still.r() > 0) {
      run.static_target = still.target.const_data_ptr<int64_t>();
      run.static_tokens = tokens = still.tokens_out;
    }
  }
  const int64_t left = tokens - prefix;
  for (size_t i = 0; i < static_cast<size_t>(config.depth); ++i) {
    const int64_t asked = asked_of_block(options, i, left, output.tokens_in - prefix);
    output.r.push_back(capped_r(asked, tokens, prefix));
    tokens -= output.r.back();
  }
  run.r = output.r;
  output.tokens_out = tokens;
  output.logits = at::empty({run.batch, config.classes}, at::kFloat);
  run.logits = output.logits.mutable_data_ptr<float>();
  if (tokens < output.tokens_in) {
    output.size = at::empty({run.batch, tokens}, at::kFloat);
    run.size = output.size.mutable_data_ptr<float>();
  }
  if (options.track_source) {
    output.source = at::empty({run.batch, output.tokens_in}, at::kLong);
    run.source = output.source.mutable_data_ptr<int64_t>();
  }
  cpu.run(run);
  return output;
}

}  // namespace tome
