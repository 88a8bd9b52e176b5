// From a MergeRequest to a launch plan; the same for the GPU and for the host executor (Launcher
// is CudaLauncher or HostLauncher).
#pragma once

#include <string>

#include "cuda/element_type.h"
#include "merging/merge_cuda.h"
#include "merging/merge_launch.h"
#include "tome_error.h"

namespace tome::cuda {

[[noreturn]] inline void refuse_merge(const MergeRequest& q, const std::string& expected) {
  throw Error(ErrorKind::kSettings,
              "merging: batch " + std::to_string(q.batch) + ", " + std::to_string(q.tokens_in) +
                  " tokens to " + std::to_string(q.tokens_out) + " of " +
                  std::to_string(q.channels) + " channels; expected " + expected);
}

template <class T, class Launcher>
void run_merge_of(Launcher& launcher, const MergeRequest& q) {
  MergeParams<T> p;
  p.x = static_cast<const T*>(q.x);
  p.size = q.size;
  p.member_begin = q.member_begin;
  p.members = q.members;
  p.x_out = static_cast<T*>(q.x_out);
  p.size_out = q.size_out;
  p.parity = q.parity;
  p.parity_out = q.parity_out;
  p.norm_weight = q.norm_weight;
  p.norm_bias = q.norm_bias;
  p.norm_out = static_cast<T*>(q.norm_out);
  p.norm_eps = q.norm_eps;
  p.batch = q.batch;
  p.tokens_in = q.tokens_in;
  p.tokens_out = q.tokens_out;
  p.channels = q.channels;
  p.combine = q.combine;
  p.split_follows = q.split_follows;
  if (!launch_merge(launcher, p)) {
    refuse_merge(q, "at most " + std::to_string(kMergeMaxChannels) + " channels");
  }
}

/// @throws Error kSettings for sizes and types that make no sense
template <class Launcher>
void run_merge(Launcher& launcher, const MergeRequest& q) {
  const bool merges = q.members != nullptr;
  if (q.batch < 1 || q.channels < 1 || q.tokens_out < 1 || q.tokens_out > q.tokens_in ||
      (!merges && q.tokens_out != q.tokens_in) || (merges && q.x == q.x_out)) {
    refuse_merge(q, "a plan wherever tokens get fewer, and an output of its own");
  }
  if (merges && q.batch > 65535) refuse_merge(q, "at most 65535 samples that merge");
  if (q.parity_out != nullptr && (q.parity == nullptr || q.parity == q.parity_out)) {
    refuse_merge(q, "parities to come from memory of their own");
  }
  with_element_type(q.type,
                    [&](auto tag) { run_merge_of<typename decltype(tag)::Type>(launcher, q); });
}

template <class Launcher>
void run_sources(Launcher& launcher, const SourceParams& params) {
  if (params.batch < 1 || params.tokens_0 < 1) {
    throw Error(ErrorKind::kSettings, "merging: sources of an empty batch");
  }
  launch_source(launcher, params);
}

}  // namespace tome::cuda
