// From a MatchRequest to a launch plan; the same for the GPU and for the host executor (Launcher
// is CudaLauncher or HostLauncher).
#pragma once

#include <string>

#include "cuda/element_type.h"
#include "merging/match_cuda.h"
#include "merging/match_launch.h"
#include "tome_error.h"

namespace tome::cuda {

inline void check_match(const MatchRequest& q) {
  const HalvesView& h = q.halves;
  const bool sizes_agree = q.batch > 0 && q.channels > 0 && h.n_a > 0 && h.n_b > 0 &&
                           h.n_a + h.n_b + h.n_fixed == q.tokens;
  if (!sizes_agree || q.r < 1 || q.r > h.n_a || q.batch > 65535) {
    throw Error(ErrorKind::kSettings,
                "matching: batch " + std::to_string(q.batch) + ", " + std::to_string(q.tokens) +
                    " tokens of " + std::to_string(q.channels) + " channels in A " +
                    std::to_string(h.n_a) + " + B " + std::to_string(h.n_b) + " + protected " +
                    std::to_string(h.n_fixed) + ", r " + std::to_string(q.r) +
                    "; expected a batch of 1 to 65535, halves that add up to the tokens and r "
                    "within 1 and A's size");
  }
}

template <class T, class Launcher>
void run_match_of(Launcher& launcher, const MatchRequest& q) {
  MatchParams<T> p;
  p.metric = static_cast<const T*>(q.metric);
  p.sample_stride = q.sample_stride;
  p.token_stride = q.token_stride;
  p.batch = q.batch;
  p.tokens = q.tokens;
  p.channels = q.channels;
  p.r = q.r;
  p.similarity = q.similarity;
  p.halves = q.halves;
  p.out = q.out;
  lay_out_match_scratch(static_cast<unsigned char*>(q.workspace), q.batch, q.halves.n_a, q.r,
                        &p.scratch);
  launch_match(launcher, p);
}

/// @throws Error kSettings for sizes that make no sense
template <class Launcher>
void run_match(Launcher& launcher, const MatchRequest& request) {
  check_match(request);
  with_element_type(request.type, [&](auto tag) {
    run_match_of<typename decltype(tag)::Type>(launcher, request);
  });
}

}  // namespace tome::cuda
