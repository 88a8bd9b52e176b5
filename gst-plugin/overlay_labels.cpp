#include "overlay_labels.h"

#include <algorithm>
#include <cstdio>

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

}  // namespace

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
