#include "merging/merge_plan.h"

#include <algorithm>
#include <numeric>

namespace tome {

void plan_merges(const PlanView& view) {
  std::iota(view.order, view.order + view.na, 0);
  const auto more_alike = [&](int32_t i, int32_t j) {
    return view.score[i] > view.score[j] || (view.score[i] == view.score[j] && i < j);
  };
  std::partial_sort(view.order, view.order + view.r, view.order + view.na, more_alike);

  // Output places: protected tokens, A tokens that stay, B tokens; then each merged A follows its
  // B.
  constexpr int64_t kUnset = -1;
  constexpr int64_t kMerged = -2;
  std::fill_n(view.target, view.tokens, kUnset);
  int64_t place = 0;
  for (const int64_t token : view.protected_tokens) view.target[token] = place++;
  for (int64_t k = 0; k < view.r; ++k) view.target[view.a[view.order[k]]] = kMerged;
  for (int64_t i = 0; i < view.na; ++i) {
    if (view.target[view.a[i]] != kMerged) view.target[view.a[i]] = place++;
  }
  for (int64_t j = 0; j < view.nb; ++j) view.target[view.b[j]] = place++;
  for (int64_t k = 0; k < view.r; ++k) {
    const int64_t source = view.a[view.order[k]];
    const int64_t destination = view.b[view.best[view.order[k]]];
    if (view.source != nullptr) view.source[k] = source;
    if (view.destination != nullptr) view.destination[k] = destination;
    view.target[source] = view.target[destination];
  }
}

}  // namespace tome
