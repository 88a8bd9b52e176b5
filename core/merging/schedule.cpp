#include "merging/schedule.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

constexpr int64_t kMaxR = 1'000'000;  // far beyond any sequence; keeps the arithmetic in range

/// A spec may come from a file, and be of any length.
std::string in_quotes(std::string_view spec) {
  const std::string_view start = whole_characters(spec, 64);
  return "'" + std::string(start) + (start.size() < spec.size() ? "…'" : "'");
}

[[noreturn]] void bad_spec(std::string_view spec, const std::string& why) {
  throw Error(ErrorKind::kSettings,
              "r schedule " + in_quotes(spec) + ": " + why +
                  " (expected a number '13', 'r:inflection' with inflection in [-1, 1] such as "
                  "'16:-1', a list '16,16,8,0', or 'keep=0.5')");
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  text = trim(text);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

int64_t parse_r(std::string_view spec, std::string_view text) {
  const auto r = parse_number<int64_t>(text);
  if (!r) bad_spec(spec, in_quotes(text) + " is not a whole number");
  if (*r < 0) bad_spec(spec, "r must not be negative");
  if (*r > kMaxR) bad_spec(spec, "r is too large");
  return *r;
}

/// In four decimals, rounded up: what is printed is a share that can be asked for.
std::string format_share(double share) {
  double ten_thousandths = std::ceil(share * 1e4);
  while (ten_thousandths / 1e4 < share) ++ten_thousandths;
  std::ostringstream text;
  text.precision(4);
  text << ten_thousandths / 1e4;
  return text.str();
}

/// The smallest constant r whose block MACs are at most `share` of the unmerged ones.
int64_t smallest_r_keeping(double share, const std::string& spec, const TokenGeometry& geometry) {
  const std::vector<int64_t> none(static_cast<size_t>(geometry.depth), 0);
  const auto full = static_cast<double>(block_macs(none, geometry));
  const auto share_of = [&](int64_t r) {
    const std::vector<int64_t> asked(static_cast<size_t>(geometry.depth), r);
    return static_cast<double>(block_macs(effective_r(asked, geometry), geometry)) / full;
  };
  int64_t low = 0;
  int64_t high = std::max<int64_t>(0, (geometry.tokens - geometry.protected_tokens) / 2);
  if (const double least = share_of(high); least > share) {
    throw Error(ErrorKind::kSettings,
                "r schedule " + in_quotes(spec) + ": no r reaches this share; the " +
                    "least that this model can keep is " + format_share(least));
  }
  while (low < high) {  // the share falls as r grows
    const int64_t middle = (low + high) / 2;
    if (share_of(middle) <= share) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

Schedule Schedule::parse(std::string_view spec) {
  Schedule schedule;
  const std::string_view text = trim(spec);
  schedule.spec_ = std::string(text);
  if (text.empty()) bad_spec(spec, "it is empty");
  if (text.starts_with("keep=")) {
    const auto share = parse_number<double>(text.substr(5));
    if (!share || !(*share > 0) || !(*share <= 1)) bad_spec(spec, "keep= needs a share in (0, 1]");
    schedule.kind_ = Keep{*share};
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
    const auto inflection = parse_number<double>(text.substr(colon + 1));
    if (!inflection || !(std::abs(*inflection) <= 1)) {
      bad_spec(spec, "the inflection must be a number in [-1, 1]");
    }
    schedule.kind_ = Linear{parse_r(spec, text.substr(0, colon)), *inflection};
  } else if (text.find(',') != std::string_view::npos) {
    List list;
    for (size_t start = 0; start <= text.size();) {
      const size_t end = std::min(text.find(',', start), text.size());
      list.r.push_back(parse_r(spec, text.substr(start, end - start)));
      start = end + 1;
    }
    schedule.kind_ = std::move(list);
  } else {
    schedule.kind_ = Linear{parse_r(spec, text), 0};
  }
  return schedule;
}

std::vector<int64_t> Schedule::resolve(const TokenGeometry& geometry) const {
  const auto depth = static_cast<size_t>(geometry.depth);
  if (const auto* list = std::get_if<List>(&kind_)) {
    if (list->r.size() > depth) {
      throw Error(ErrorKind::kSettings,
                  "r schedule " + in_quotes(spec_) + ": " + std::to_string(list->r.size()) +
                      " values, but the model has " + std::to_string(depth) + " blocks");
    }
    std::vector<int64_t> r = list->r;
    r.resize(depth, 0);
    return r;
  }
  if (const auto* keep = std::get_if<Keep>(&kind_)) {
    return std::vector<int64_t>(depth, smallest_r_keeping(keep->share, spec_, geometry));
  }
  const auto& linear = std::get<Linear>(kind_);
  return linear_schedule(linear.r, linear.inflection, geometry.depth);
}

std::vector<int64_t> linear_schedule(int64_t r, double inflection, int64_t depth) {
  if (depth == 1) return {r};
  const auto min = static_cast<int64_t>(static_cast<double>(r) * (1.0 - inflection));
  const int64_t max = 2 * r - min;
  const double step = static_cast<double>(max - min) / static_cast<double>(depth - 1);
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(depth));
  for (int64_t block = 0; block < depth; ++block) {
    out.push_back(
        static_cast<int64_t>(static_cast<double>(min) + step * static_cast<double>(block)));
  }
  return out;
}

int64_t capped_r(int64_t r, int64_t tokens, int64_t protected_tokens) {
  return std::max<int64_t>(0, std::min(r, (tokens - protected_tokens) / 2));
}

std::vector<int64_t> effective_r(const std::vector<int64_t>& asked, const TokenGeometry& geometry) {
  std::vector<int64_t> out;
  out.reserve(asked.size());
  int64_t tokens = geometry.tokens;
  for (const int64_t r : asked) {
    out.push_back(capped_r(r, tokens, geometry.protected_tokens));
    tokens -= out.back();
  }
  return out;
}

int64_t block_macs(const std::vector<int64_t>& r, const TokenGeometry& geometry) {
  const int64_t dim = geometry.dim;
  int64_t tokens = geometry.tokens;
  int64_t macs = 0;
  for (const int64_t merged : r) {
    macs += tokens * dim * 3 * dim + 2 * tokens * tokens * dim + tokens * dim * dim;
    tokens -= merged;
    macs += 2 * tokens * dim * geometry.mlp_hidden;
  }
  return macs;
}

}  // namespace tome
