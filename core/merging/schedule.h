// How many tokens each block merges: the spec string of `tome-r` and `--r`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace tome {

/// What a schedule must know of the model to become numbers.
struct TokenGeometry {
  int64_t depth = 12;
  int64_t tokens = 197;          ///< tokens before block 0, prefix included
  int64_t protected_tokens = 1;  ///< class, distillation and register tokens
  int64_t dim = 768, mlp_hidden = 3072;
};

/// A parsed spec string:
///   `0`  off;  `13`  constant;  `16:-1`  linear from 2r to 0;  `16:1`  rising;  `8:0.5`  between;
///   `16,16,8,0`  per block, short lists padded with 0;  `keep=0.5`  the smallest constant r whose
///   block MACs are at most this share of the unmerged ones.
/// Linear schedules truncate to integers in double precision as the paper's code does.
class Schedule {
 public:
  Schedule() = default;  ///< off

  /// @throws Error kSettings that quotes the spec and says what is accepted
  static Schedule parse(std::string_view spec);

  /// r asked of each block, `depth` values, all >= 0, not yet capped.
  /// @throws Error kSettings if a list is longer than `depth`, or no r reaches keep=; the text
  ///   names the least share that can be reached
  std::vector<int64_t> resolve(const TokenGeometry& geometry) const;

 private:
  struct Linear {
    int64_t r = 0;
    double inflection = 0;
  };
  struct List {
    std::vector<int64_t> r;
  };
  struct Keep {
    double share = 1;
  };
  std::variant<Linear, List, Keep> kind_ = Linear{};
  std::string spec_ = "0";
};

/// The paper's linear schedule: min = int(r (1 - inflection)), max = 2 r - min, block i gets
/// int(min + (max - min) / (depth - 1) * i). Inflection 0 is constant.
std::vector<int64_t> linear_schedule(int64_t r, double inflection, int64_t depth);

/// r after the cap at half of the tokens that may merge: min(r, (tokens - protected) / 2).
int64_t capped_r(int64_t r, int64_t tokens, int64_t protected_tokens);

/// What each block really merges, given what was asked.
std::vector<int64_t> effective_r(const std::vector<int64_t>& asked, const TokenGeometry& geometry);

/// Multiply-accumulates of all blocks (QKV, QK^T, AV, projection, MLP) for effective r values. In a
/// block the attention sees the tokens before its merge and the MLP those after.
int64_t block_macs(const std::vector<int64_t>& r, const TokenGeometry& geometry);

}  // namespace tome
