#include "merging/partition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tome_error.h"

namespace tome {
namespace {

using Places = std::vector<int64_t>;

at::Tensor row(const Places& places) { return at::tensor(places, at::kLong).unsqueeze(0); }

/// Cuts an ordered list in the middle; A takes the odd one, as with the alternating split of an
/// even first place. Both halves come back ascending.
std::pair<Places, Places> cut(const Places& ordered) {
  const auto middle = ordered.begin() + static_cast<int64_t>((ordered.size() + 1) / 2);
  Places a(ordered.begin(), middle);
  Places b(middle, ordered.end());
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return {std::move(a), std::move(b)};
}

Halves split_by_parity(int64_t batch, const Places& free, const MatchOptions& options) {
  if (!options.places.tyx.defined()) {
    throw Error(ErrorKind::kSettings,
                "this partition needs the tokens' places in the clip, and there are none");
  }
  const at::Tensor tyx = options.places.tyx.to(at::kCPU, at::kInt).contiguous();
  const auto place = tyx.accessor<int32_t, 3>();
  std::vector<at::Tensor> a, b;
  for (int64_t sample = 0; sample < batch; ++sample) {
    const auto parity = [&](int64_t token) {
      const auto p = place[sample][token];
      return options.partition == Partition::kByFrame ? p[0] & 1 : (p[0] + p[1] + p[2]) & 1;
    };
    Places ordered = free;
    std::stable_partition(ordered.begin(), ordered.end(),
                          [&](int64_t token) { return parity(token) == 0; });
    auto [half_a, half_b] = cut(ordered);
    a.push_back(row(half_a));
    b.push_back(row(half_b));
  }
  return {at::cat(a), at::cat(b)};
}

}  // namespace

std::vector<int64_t> unprotected_tokens(int64_t tokens,
                                        const std::vector<int64_t>& protected_tokens) {
  Places free;
  free.reserve(static_cast<size_t>(tokens));
  auto next = protected_tokens.begin();
  for (int64_t token = 0; token < tokens; ++token) {
    if (next != protected_tokens.end() && *next == token) {
      ++next;
    } else {
      free.push_back(token);
    }
  }
  if (next != protected_tokens.end()) {
    throw Error(ErrorKind::kSettings, "protected tokens: found " + std::to_string(*next) +
                                          " out of order, expected places from 0 to " +
                                          std::to_string(tokens - 1) + ", ascending");
  }
  return free;
}

void shuffle(std::vector<int64_t>& places, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[random() % i]);
}

Halves split_tokens(int64_t batch, int64_t tokens, const MatchOptions& options) {
  Places free = unprotected_tokens(tokens, options.protected_tokens);
  switch (options.partition) {
    case Partition::kByFrame:
    case Partition::kCheckerboard:
      return split_by_parity(batch, free, options);
    case Partition::kRandom:
      shuffle(free, options.seed);
      [[fallthrough]];
    case Partition::kSequential: {
      const auto [a, b] = cut(free);
      return {row(a), row(b)};
    }
    case Partition::kAlternating:
      break;
  }
  Places a, b;
  for (const int64_t token : free) (token % 2 == 0 ? a : b).push_back(token);
  return {row(a), row(b)};
}

cuda::HalvesView halves_view(Partition partition, int64_t prefix, int64_t tokens) {
  if (partition == Partition::kRandom) {
    throw Error(ErrorKind::kSettings, "partition random has no halves that stay the same");
  }
  const auto free = static_cast<int>(tokens - prefix);
  const auto first = static_cast<int>(prefix);
  cuda::HalvesView halves;
  halves.n_fixed = first;
  if (partition == Partition::kAlternating) {
    halves.a_first = first + first % 2;  // A are even places, whatever comes before them
    halves.b_first = first + 1 - first % 2;
    halves.n_a = (free + 1 - first % 2) / 2;
  } else {
    halves.n_a = (free + 1) / 2;
    halves.a_first = first;
    halves.b_first = first + halves.n_a;
    halves.a_step = halves.b_step = 1;
  }
  halves.n_b = free - halves.n_a;
  return halves;
}

}  // namespace tome
