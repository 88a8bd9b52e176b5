#include "overlay_labels.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <map>

#include "printable.h"

namespace tome::gst {
namespace {

/// `text` as it can be drawn. Laying out takes time for each letter, whether or not it has room,
/// and a label may be a whole file.
std::string drawable(const std::string& text) {
  constexpr glong kMostLetters = 256;
  constexpr size_t kBytes = 4;  // of a letter, at most: what is cut off here is one too many
  std::string made = printable(text.substr(0, kBytes * (kMostLetters + 1)));
  if (g_utf8_strlen(made.c_str(), -1) <= kMostLetters) return made;
  made.erase(
      static_cast<size_t>(g_utf8_offset_to_pointer(made.c_str(), kMostLetters) - made.c_str()));
  return made + "\u2026";
}

OverlayLine line_of(const Tag& tag) {
  constexpr int kDecimals = 2;
  std::array<char, std::numeric_limits<double>::max_exponent10 + 8> score{};
  const auto end = std::to_chars(score.data(), score.data() + score.size(), tag.score,
                                 std::chars_format::fixed, kDecimals);
  return {drawable(tag.label.empty() ? std::to_string(tag.id) : tag.label),
          std::string(score.data(), end.ptr)};
}

/// The first `most` lines for `result`, under its model's name if that is asked for.
std::vector<OverlayLine> lines_of(const Classification& result, bool named, unsigned top_k,
                                  size_t most) {
  std::vector<OverlayLine> lines;
  if (named && most > 0) lines.push_back({drawable(result.model) + ":", ""});
  const size_t count = std::min({size_t{top_k}, result.tags.size(), most - lines.size()});
  for (size_t i = 0; i < count; ++i) lines.push_back(line_of(result.tags[i]));
  return lines;
}

/// `at` of `from` pixels, in `to` pixels, to the nearest; 64 bits and bounds for hostile metas.
int scaled(int64_t at, int from, int to) {
  const int64_t exact = at * to;
  const int64_t nearest = (exact + (exact < 0 ? -from : from) / 2) / from;
  return static_cast<int>(std::clamp<int64_t>(nearest, std::numeric_limits<int>::min() / 2,
                                              std::numeric_limits<int>::max() / 2));
}

}  // namespace

void scale_regions(std::span<Classification> results, int width, int height) {
  for (Classification& result : results) {
    if (!result.region || !result.frame_size) continue;
    const auto [from_width, from_height] = *result.frame_size;
    if (from_width <= 0 || from_height <= 0) continue;
    // Both edges, so that neighbours still touch.
    auto& [x, y, w, h] = *result.region;
    const int right = scaled(int64_t{x} + w, from_width, width);
    const int bottom = scaled(int64_t{y} + h, from_height, height);
    x = scaled(x, from_width, width);
    y = scaled(y, from_height, height);
    w = right - x;
    h = bottom - y;
  }
}

std::vector<OverlayLabel> overlay_labels(std::span<const Classification> results, unsigned top_k) {
  const auto full_frames = std::count_if(results.begin(), results.end(),
                                         [](const auto& result) { return !result.region; });
  std::vector<OverlayLabel> labels;
  std::map<std::optional<std::array<int, 4>>, size_t> places;
  size_t region_room = kMostRegionLines;
  for (const Classification& result : results) {
    const auto [place, is_new] = places.try_emplace(result.region, labels.size());
    if (is_new) labels.push_back({{}, result.region});
    auto& lines = labels[place->second].lines;
    size_t room = kMostLines - lines.size();
    if (result.region) room = std::min(room, region_room);
    const bool named = !result.region && full_frames > 1;
    const auto more = lines_of(result, named, top_k, room);
    if (result.region) region_room -= more.size();
    lines.insert(lines.end(), more.begin(), more.end());
  }
  std::erase_if(labels, [](const auto& label) { return !label.region && label.lines.empty(); });
  return labels;
}

}  // namespace tome::gst
