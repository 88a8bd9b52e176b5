// From an EmbedRequest or a PoolRequest to a launch plan; the same for the GPU and for the host
// executor (Launcher is CudaLauncher or HostLauncher).
#pragma once

#include <string>

#include "cuda/element_type.h"
#include "tome_error.h"
#include "vit/embed_cuda.h"
#include "vit/embed_kernel.h"
#include "vit/pool_kernel.h"

namespace tome::cuda {

[[noreturn]] inline void refuse_tokens(const char* what, int batch, int tokens, int channels,
                                       const char* expected) {
  throw Error(ErrorKind::kSettings, std::string(what) + ": batch " + std::to_string(batch) + ", " +
                                        std::to_string(tokens) + " tokens of " +
                                        std::to_string(channels) + " channels; expected " +
                                        expected);
}

template <class T, class Launcher>
void run_embed_of(Launcher& launcher, const EmbedRequest& q) {
  EmbedParams<T> p;
  p.patches = static_cast<const T*>(q.patches);
  p.first = q.first;
  p.position = q.position;
  p.x_out = static_cast<T*>(q.x_out);
  p.size_out = q.size_out;
  p.prefix_size = q.prefix_size;
  p.parity_out = q.parity_out;
  p.grid = q.grid;
  p.norm_weight = q.norm_weight;
  p.norm_bias = q.norm_bias;
  p.norm_out = static_cast<T*>(q.norm_out);
  p.norm_eps = q.norm_eps;
  p.batch = q.batch;
  p.tokens = q.tokens;
  p.prefix = q.prefix;
  p.cells = q.cells;
  p.channels = q.channels;
  if (!launch_embed(launcher, p)) {
    refuse_tokens("embedding", q.batch, q.tokens, q.channels, "at most 2048 channels");
  }
}

/// @throws Error kSettings for sizes that make no sense
template <class Launcher>
void run_embed(Launcher& launcher, const EmbedRequest& q) {
  if (q.batch < 1 || q.prefix < 0 || q.tokens <= q.prefix || q.cells < 1 || q.channels < 1 ||
      (q.tokens - q.prefix) % q.cells != 0) {
    refuse_tokens("embedding", q.batch, q.tokens, q.channels,
                  "whole frames of cells behind the prefix");
  }
  if (q.parity_out != nullptr && (q.grid.rows < 1 || q.grid.cols < 1)) {
    refuse_tokens("embedding", q.batch, q.tokens, q.channels, "a grid of rows and columns");
  }
  with_element_type(q.type,
                    [&](auto tag) { run_embed_of<typename decltype(tag)::Type>(launcher, q); });
}

template <class T, class Launcher>
void run_pool_of(Launcher& launcher, const PoolRequest& q) {
  PoolParams<T> p;
  p.x = static_cast<const T*>(q.x);
  p.size = q.size;
  p.out = static_cast<T*>(q.out);
  p.batch = q.batch;
  p.tokens = q.tokens;
  p.channels = q.channels;
  p.out_stride = q.out_stride;
  p.first = q.first;
  p.count = q.count;
  launch_pool(launcher, p);
}

/// @throws Error kSettings for sizes that make no sense
template <class Launcher>
void run_pool(Launcher& launcher, const PoolRequest& q) {
  if (q.batch < 1 || q.batch > 65535 || q.first < 0 || q.count < 1 ||
      q.first + q.count > q.tokens || q.channels < 1 || q.out_stride < q.channels) {
    refuse_tokens("pooling", q.batch, q.tokens, q.channels,
                  "1 to 65535 samples, a range of their tokens and room for the results");
  }
  with_element_type(q.type,
                    [&](auto tag) { run_pool_of<typename decltype(tag)::Type>(launcher, q); });
}

}  // namespace tome::cuda
