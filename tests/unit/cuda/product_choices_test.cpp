// Which algorithm a product takes, and what its family's winners are.
#include "vit/product_choices.h"

#include <gtest/gtest.h>

namespace tome::testing {
namespace {

using cuda::ProductAlgorithm;
using cuda::ProductChoices;
using cuda::ProductKey;

ProductAlgorithm algorithm(uint64_t number) { return {{{number}}, 4}; }
uint64_t number_of(const ProductAlgorithm& algorithm) { return algorithm.algo.data[0]; }
ProductKey key(int64_t rows, int64_t family = 1) { return {{family}, rows}; }

std::vector<uint64_t> near(const ProductChoices& choices, const ProductKey& key,
                           size_t before = 0) {
  std::vector<uint64_t> numbers;
  for (const ProductAlgorithm& each : choices.winners(key, before).near) {
    numbers.push_back(number_of(each));
  }
  return numbers;
}

TEST(ProductChoices, TheFirstGuessHoldsUntilOneIsMeasured) {
  ProductChoices choices;
  EXPECT_FALSE(choices.find(key(100)));
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(1)})), 1U);
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(2)})), 1U);
  EXPECT_FALSE(choices.find(key(100))->tuned);
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(3), true, 0})), 3U);
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(1)})), 3U);
  EXPECT_TRUE(choices.find(key(100))->tuned);
  EXPECT_FALSE(choices.find(key(101)));
}

TEST(ProductChoices, OfTwoMeasuredOnesTheOneThatMetMoreWinnersHolds) {
  ProductChoices choices;
  choices.settle(key(100), {algorithm(1), true, 2});
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(2), true, 2})), 1U);
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(3), true, 3})), 3U);
  EXPECT_EQ(number_of(choices.settle(key(100), {algorithm(4), true, 1})), 3U);
}

TEST(ProductChoices, WinnersAreMeasuredOnesOfTheFamilyForAboutAsManyRows) {
  ProductChoices choices;
  choices.settle(key(1000), {algorithm(1), true, 0});
  choices.settle(key(4001), {algorithm(2), true, 0});
  choices.settle(key(250), {algorithm(3), true, 0});
  choices.settle(key(1500), {algorithm(4)});              // a guess
  choices.settle(key(1000, 2), {algorithm(5), true, 0});  // another family
  choices.settle(key(2000), {algorithm(1), true, 0});     // once, where it is nearest
  EXPECT_EQ(near(choices, key(1000)), (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(near(choices, key(3000)), (std::vector<uint64_t>{2, 1}));
  EXPECT_EQ(near(choices, key(100)), (std::vector<uint64_t>{3}));
  EXPECT_EQ(choices.winners(key(1000), 0).known, 4U);
  EXPECT_TRUE(near(choices, key(1000, 3)).empty());
}

TEST(ProductChoices, WinnersSinceThen) {
  ProductChoices choices;
  choices.settle(key(1000), {algorithm(1), true, 0});
  const size_t before = choices.winners(key(900), 0).known;
  EXPECT_TRUE(near(choices, key(900), before).empty());
  choices.settle(key(800), {algorithm(2), true, before});
  EXPECT_EQ(near(choices, key(900), before), (std::vector<uint64_t>{2}));
  EXPECT_EQ(choices.winners(key(900), before).known, 2U);
}

TEST(ProductChoices, TheNearestTwelve) {
  ProductChoices choices;
  for (uint64_t i = 0; i < 20; ++i) {
    choices.settle(key(1000 + 10 * static_cast<int64_t>(i)), {algorithm(i), true, i});
  }
  const std::vector<uint64_t> found = near(choices, key(1190));
  ASSERT_EQ(found.size(), ProductChoices::kMostNear);
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], 19 - i);
}

}  // namespace
}  // namespace tome::testing
