#include "merging/static_runs.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

namespace tome {
namespace {

double mean_difference(const float* a, const float* b, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += std::abs(a[i] - b[i]);
  return static_cast<double>(sum) / static_cast<double>(count);
}

/// A tubelet that could merge: how far it is from its run's first, and both places.
using Repeat = std::tuple<double, int64_t, int64_t>;

std::vector<Repeat> find_repeats(const float* tubelets, at::IntArrayRef shape, double threshold) {
  const int64_t times = shape[0];
  const int64_t places = shape[1];
  const int64_t size = shape[2];
  std::vector<Repeat> repeats;
  for (int64_t place = 0; place < places; ++place) {
    int64_t first = place;
    for (int64_t time = 1; time < times; ++time) {
      const int64_t cell = time * places + place;
      const double difference =
          mean_difference(tubelets + cell * size, tubelets + first * size, size);
      if (difference <= threshold) {
        repeats.emplace_back(difference, cell, first);
      } else {
        first = cell;
      }
    }
  }
  std::sort(repeats.begin(), repeats.end());
  return repeats;
}

void write_sample(const std::vector<Repeat>& repeats, int64_t sample, int64_t prefix,
                  const Matching& matching) {
  int64_t* target = matching.target.data_ptr<int64_t>() + sample * matching.tokens_in;
  std::vector<bool> gone(static_cast<size_t>(matching.tokens_in), false);
  for (int64_t k = 0; k < matching.r(); ++k) gone[std::get<1>(repeats[k]) + prefix] = true;
  int64_t place = 0;
  for (int64_t token = 0; token < matching.tokens_in; ++token) {
    if (!gone[token]) target[token] = place++;
  }
  for (int64_t k = 0; k < matching.r(); ++k) {
    const auto [difference, cell, first] = repeats[k];
    matching.source.data_ptr<int64_t>()[sample * matching.r() + k] = cell + prefix;
    matching.destination.data_ptr<int64_t>()[sample * matching.r() + k] = first + prefix;
    target[cell + prefix] = target[first + prefix];
  }
}

/// Of each sample, the most alike first.
std::vector<std::vector<Repeat>> find_all_repeats(const at::Tensor& tubelets, double threshold) {
  const at::Tensor rows = tubelets.to(at::kCPU, at::kFloat).contiguous();
  const int64_t batch = rows.size(0);
  const int64_t numbers = rows.size(1) * rows.size(2) * rows.size(3);
  std::vector<std::vector<Repeat>> repeats(static_cast<size_t>(batch));
  at::parallel_for(0, batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      repeats[b] =
          find_repeats(rows.data_ptr<float>() + b * numbers, rows.sizes().slice(1), threshold);
    }
  });
  return repeats;
}

}  // namespace

std::vector<int64_t> count_static_runs(const at::Tensor& tubelets, double threshold) {
  std::vector<int64_t> counts;
  for (const auto& sample : find_all_repeats(tubelets, threshold)) {
    const auto count = static_cast<int64_t>(sample.size());
    counts.push_back(count - count % kStaticBucket);
  }
  return counts;
}

Matching match_static_runs(const at::Tensor& tubelets, double threshold, int64_t prefix) {
  const int64_t batch = tubelets.size(0);
  const int64_t cells = tubelets.size(1) * tubelets.size(2);
  const std::vector<std::vector<Repeat>> repeats = find_all_repeats(tubelets, threshold);
  int64_t r = cells;
  for (const auto& sample : repeats) r = std::min(r, static_cast<int64_t>(sample.size()));
  r -= r % kStaticBucket;

  Matching matching = new_matching(batch, prefix + cells, r);
  for (int64_t b = 0; b < batch; ++b) write_sample(repeats[b], b, prefix, matching);
  return to_device(std::move(matching), tubelets.device());
}

}  // namespace tome
