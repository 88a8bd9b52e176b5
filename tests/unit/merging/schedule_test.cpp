#include "merging/schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "shared_data.h"
#include "tome_error.h"

namespace tome {
namespace {

constexpr TokenGeometry kViTBase{12, 197, 1, 768, 3072};

std::vector<int64_t> resolve(const std::string& spec, const TokenGeometry& geometry = kViTBase) {
  return Schedule::parse(spec).resolve(geometry);
}

int64_t sum(const std::vector<int64_t>& r) {
  int64_t total = 0;
  for (const int64_t value : r) total += value;
  return total;
}

TEST(Schedule, FollowsEveryCaseOfTheReference) {
  TOME_NEEDS_SHARED_DATA("parity/parse_r.json");
  std::ifstream file(testing::shared_data() / "parity/parse_r.json");
  const auto cases = nlohmann::json::parse(file);
  ASSERT_GT(cases.size(), 200U);
  size_t compared = 0;
  for (const auto& entry : cases) {
    const int64_t layers = entry["layers"];
    std::string spec;
    if (entry["kind"] == "int") {
      spec = std::to_string(entry["r"].get<int64_t>());
    } else if (entry["kind"] == "tuple") {
      spec = std::to_string(entry["r"][0].get<int64_t>()) + ":" + entry["r"][1].dump();
    } else {
      for (const auto& r : entry["r"]) spec += (spec.empty() ? "" : ",") + r.dump();
      if (entry["r"].size() == 1) spec += ",0";  // one number alone is a constant
      if (entry["r"].empty()) continue;          // no spec string for an empty list
      if (static_cast<int64_t>(entry["r"].size()) > layers) {
        // The reference returns a longer list whole; here it is an error, tested below.
        EXPECT_THROW(resolve(spec, {layers, 197, 1, 768, 3072}), Error) << spec;
        continue;
      }
      if (entry["r"].size() == 1 && layers == 1) continue;
    }
    EXPECT_EQ(resolve(spec, {layers, 197, 1, 768, 3072}), entry["out"].get<std::vector<int64_t>>())
        << entry.dump();
    ++compared;
  }
  EXPECT_GT(compared, 200U);
}

TEST(Schedule, ConstantListAndLinear) {
  EXPECT_EQ(resolve("0"), std::vector<int64_t>(12, 0));
  EXPECT_EQ(resolve(" 13 "), std::vector<int64_t>(12, 13));
  EXPECT_EQ(resolve("16,16,8,0"), (std::vector<int64_t>{16, 16, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  // Falling from 2r to 0 truncates: 187 of 192 (the paper's code does the same).
  const auto falling = resolve("16:-1");
  EXPECT_EQ(falling.front(), 32);
  EXPECT_EQ(falling.back(), 0);
  EXPECT_EQ(sum(falling), 187);
  EXPECT_EQ(resolve("5:1", {1, 10, 1, 8, 8}), std::vector<int64_t>{5});
}

TEST(Schedule, NumbersMayHaveAPlusAndSpacesAround) {
  EXPECT_EQ(resolve("+5"), resolve("5"));
  EXPECT_EQ(resolve("16 : +0.5"), resolve("16:0.5"));
  EXPECT_EQ(resolve(" +16, 8 ,+0"), resolve("16,8,0"));
  EXPECT_EQ(resolve("keep= +0.5"), resolve("keep=0.5"));
}

TEST(Schedule, TheLargestRIsAMillion) {
  EXPECT_EQ(resolve("1000000"), std::vector<int64_t>(12, 1'000'000));
  EXPECT_EQ(resolve("1000000:-1").front(), 2'000'000);
}

TEST(Schedule, KeepFindsTheSmallestConstantR) {
  const auto macs = [](int64_t r) {
    return block_macs(effective_r(std::vector<int64_t>(12, r), kViTBase), kViTBase);
  };
  for (const double share : {1.0, 0.9, 0.75, 0.5, 0.3}) {
    const int64_t r = resolve("keep=" + std::to_string(share)).front();
    EXPECT_LE(static_cast<double>(macs(r)), share * static_cast<double>(macs(0)));
    if (r > 0) {
      EXPECT_GT(static_cast<double>(macs(r - 1)), share * static_cast<double>(macs(0)));
    }
  }
  EXPECT_EQ(resolve("keep=1").front(), 0);
}

TEST(Schedule, ShareThatNothingReachesNamesTheLeast) {
  try {
    resolve("keep=0.01");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    const double least = static_cast<double>(block_macs(
                             effective_r(std::vector<int64_t>(12, 98), kViTBase), kViTBase)) /
                         static_cast<double>(block_macs(std::vector<int64_t>(12, 0), kViTBase));
    EXPECT_NE(std::string(error.what()).find(std::to_string(least).substr(0, 5)), std::string::npos)
        << error.what();
  }
}

TEST(Schedule, TheLeastShareThatIsNamedCanBeAskedFor) {
  for (const int64_t dim : {64, 192, 384, 768, 1024}) {
    for (const int64_t tokens : {17, 65, 197, 577, 1569}) {
      const TokenGeometry geometry{12, tokens, 1, dim, 4 * dim};
      std::string text;
      try {
        resolve("keep=0.0001", geometry);
      } catch (const Error& error) {
        text = error.what();
      }
      const size_t share = text.rfind(' ') + 1;
      ASSERT_NE(share, 0U) << text;
      EXPECT_NO_THROW(resolve("keep=" + text.substr(share), geometry)) << text;
    }
  }
}

TEST(Schedule, CapsAtHalfOfTheTokensThatMayMerge) {
  // 65 tokens with a class token and r = 100: 65 -> 33 -> 17 -> 9 -> 5 (parity/README.md).
  EXPECT_EQ(effective_r({100, 100, 100, 100}, {4, 65, 1, 64, 256}),
            (std::vector<int64_t>{32, 16, 8, 4}));
  EXPECT_EQ(capped_r(-3, 10, 1), 0);
  EXPECT_EQ(capped_r(3, 1, 1), 0);
  // ViT-L on 1568 tokens: r = 65 is clamped in the last of 24 blocks.
  const auto r = effective_r(std::vector<int64_t>(24, 65), {24, 1568, 0, 1024, 4096});
  EXPECT_EQ(r[22], 65);
  EXPECT_EQ(r[23], (1568 - 23 * 65) / 2);
}

TEST(Schedule, MacsByHand) {
  // One block, 4 tokens of width 2, MLP width 3, one merge:
  // QKV 4*2*6, QK and AV 2*4*4*2, projection 4*2*2, MLP on 3 tokens 2*3*2*3.
  EXPECT_EQ(block_macs({1}, {1, 4, 0, 2, 3}), 48 + 64 + 16 + 36);
}

// A spec may come from a file.
TEST(Schedule, QuotesLittleOfALongSpec) {
  const auto refusal = [](const std::string& spec) -> std::string {
    try {
      resolve(spec);
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  };
  std::string list = "1";
  for (int i = 0; i < 10000; ++i) list += ",1";
  for (const std::string& spec :
       {std::string(100000, 'x'), std::string(100000, '1'), "keep=" + std::string(100000, '9'),
        "0:" + std::string(100000, '7'), list}) {
    const std::string text = refusal(spec);
    EXPECT_LT(text.size(), 400U);
    EXPECT_EQ(text.find(spec.substr(0, 64) + "…'"), std::string("r schedule '").size()) << text;
  }
  // Nor is it cut within a character.
  EXPECT_NE(refusal(std::string(63, 'x') + "猫猫").find("xxx…'"), std::string::npos);
}

TEST(Schedule, RejectsNonsense) {
  for (const char* spec : {"",
                           " ",
                           "abc",
                           "-1",
                           "1.5",
                           "13:",
                           ":1",
                           "8:2",
                           "8:-1.01",
                           "8:nan",
                           "16,,8",
                           "16,",
                           "1,-2",
                           "keep=",
                           "keep=0",
                           "keep=1.5",
                           "keep=nan",
                           "keep=-1",
                           "13x",
                           "1e3",
                           "99999999999999999999",
                           "0x10",
                           "8:1:1",
                           "++5",
                           "+-0",
                           "8:+-0.5",
                           "+",
                           "1000001",
                           "9000000000000000000:-1"}) {
    try {
      Schedule::parse(spec);
      ADD_FAILURE() << "accepted '" << spec << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSettings);
      EXPECT_NE(std::string(error.what()).find("'" + std::string(spec) + "'"), std::string::npos);
    }
  }
  EXPECT_THROW(resolve("1,2,3", {2, 10, 0, 8, 8}), Error);
}

}  // namespace
}  // namespace tome
