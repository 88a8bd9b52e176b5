// Which algorithm each product of the process takes, and what was the fastest for products like it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda/cublas_lt.h"

namespace tome::cuda {

/// How cuBLASLt computes a product.
struct ProductAlgorithm {
  lt::Algo algo;
  size_t workspace_bytes = 0;  ///< that it needs

  bool operator==(const ProductAlgorithm& other) const {
    return std::equal(std::begin(algo.data), std::end(algo.data), other.algo.data);
  }
};

/// What the choice of an algorithm depends on. Products that differ in `rows` alone are a family.
struct ProductKey {
  std::array<int64_t, 14> family;
  int64_t rows;
  auto operator<=>(const ProductKey&) const = default;
};

/// What a product takes.
struct ProductChoice {
  ProductAlgorithm algorithm;
  bool tuned = false;  ///< measured, not guessed
  size_t winners = 0;  ///< how many its family had when it was measured against them
};

/// See Note [Which algorithm a product takes]. Threads may share one.
class ProductChoices {
 public:
  std::optional<ProductChoice> find(const ProductKey& key) const;

  /// The choice that holds: the first, until one was measured, or against more winners. What was
  /// measured is a winner of its family.
  ProductAlgorithm settle(const ProductKey& key, const ProductChoice& choice);

  struct Winners {
    std::vector<ProductAlgorithm> near;  ///< of the nearest numbers of rows first
    size_t known = 0;                    ///< of the family altogether
  };
  /// Of the family's winners but the first `before`, those for a quarter to four times the rows:
  /// kMostNear at most. What suits thousands of rows does not suit hundreds.
  Winners winners(const ProductKey& key, size_t before) const;
  static constexpr size_t kMostNear = 12;

 private:
  struct Winner {
    ProductAlgorithm algorithm;
    int64_t rows;
  };
  static constexpr size_t kMostWinners = 1024;  ///< of a family

  mutable std::mutex mutex_;
  std::map<ProductKey, ProductChoice> chosen_;
  std::map<std::array<int64_t, 14>, std::vector<Winner>> winners_;
};

}  // namespace tome::cuda
