#include "overlay_labels.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>

#include "printable.h"

namespace tome::gst {
namespace {

std::string line_of(const Tag& tag) {
  std::array<char, 32> score{};
  std::snprintf(score.data(), score.size(), " %.2f", tag.score);
  return printable(tag.label.empty() ? std::to_string(tag.id) : tag.label) + score.data();
}

void append_line(std::string& text, const std::string& line) {
  if (!text.empty()) text += '\n';
  text += line;
}

void append_tags(std::string& text, const Classification& result, unsigned top_k) {
  const size_t count = std::min<size_t>(top_k, result.tags.size());
  for (size_t i = 0; i < count; ++i) append_line(text, line_of(result.tags[i]));
}

/// The block of `region`, made if there is none yet.
OverlayLabel& block_of(std::vector<OverlayLabel>& labels,
                       const std::optional<std::array<int, 4>>& region) {
  const auto found = std::find_if(labels.begin(), labels.end(), [&](const OverlayLabel& label) {
    return label.region == region;
  });
  return found != labels.end() ? *found : labels.emplace_back(OverlayLabel{"", region});
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
  for (const Classification& result : results) {
    OverlayLabel& label = block_of(labels, result.region);
    if (!result.region && full_frames > 1) append_line(label.text, printable(result.model) + ":");
    append_tags(label.text, result, top_k);
  }
  std::erase_if(labels, [](const auto& label) { return !label.region && label.text.empty(); });
  return labels;
}

}  // namespace tome::gst
