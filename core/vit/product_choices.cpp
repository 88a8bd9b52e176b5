#include "vit/product_choices.h"

#include <algorithm>

namespace tome::cuda {
namespace {

constexpr int64_t kNear = 4;

/// How many times as many the larger number is.
double ratio(int64_t a, int64_t b) {
  return static_cast<double>(std::max(a, b)) / static_cast<double>(std::min(a, b));
}

}  // namespace

std::optional<ProductChoice> ProductChoices::find(const ProductKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = chosen_.find(key);
  return found == chosen_.end() ? std::nullopt : std::optional(found->second);
}

ProductAlgorithm ProductChoices::settle(const ProductKey& key, const ProductChoice& choice) {
  const std::lock_guard lock(mutex_);
  ProductChoice& holds = chosen_.try_emplace(key, choice).first->second;
  if (!choice.tuned) return holds.algorithm;
  if (!holds.tuned || choice.winners > holds.winners) holds = choice;
  std::vector<Winner>& winners = winners_[key.family];
  const bool there = std::any_of(winners.begin(), winners.end(), [&](const Winner& winner) {
    return winner.rows == key.rows && winner.algorithm == choice.algorithm;
  });
  if (!there && winners.size() < kMostWinners) winners.push_back({choice.algorithm, key.rows});
  return holds.algorithm;
}

ProductChoices::Winners ProductChoices::winners(const ProductKey& key, size_t before) const {
  const std::lock_guard lock(mutex_);
  Winners out;
  const auto found = winners_.find(key.family);
  if (found == winners_.end()) return out;
  out.known = found->second.size();
  std::vector<Winner> near;
  for (size_t i = before; i < found->second.size(); ++i) {
    const Winner& winner = found->second[i];
    if (ratio(winner.rows, key.rows) <= kNear) near.push_back(winner);
  }
  std::stable_sort(near.begin(), near.end(), [&](const Winner& a, const Winner& b) {
    return ratio(a.rows, key.rows) < ratio(b.rows, key.rows);
  });
  for (const Winner& winner : near) {
    if (out.near.size() == kMostNear) break;
    const bool there =
        std::find(out.near.begin(), out.near.end(), winner.algorithm) != out.near.end();
    if (!there) out.near.push_back(winner.algorithm);
  }
  return out;
}

}  // namespace tome::cuda
