// What tomeoverlay writes on a frame: from results to lines of text and boxes.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "classification_meta.h"

namespace tome::gst {

/// A line of text, UTF-8: a tag, or a heading, which has no score.
struct OverlayLine {
  std::string name, score;

  bool operator==(const OverlayLine&) const = default;
};

/// One block of text: the full frame's, in a corner, or a region's, beside its box.
struct OverlayLabel {
  std::vector<OverlayLine> lines;            ///< may be empty
  std::optional<std::array<int, 4>> region;  ///< x, y, width, height of the box; none: full frame

  bool operator==(const OverlayLabel&) const = default;
};

/// Scales regions from the frames that were classified to a frame of width x height pixels: a
/// scaler in between copies metas as they are. Results that do not say how large their frame was
/// stay as they are.
void scale_regions(std::span<Classification> results, int width, int height);

/// Most lines of one label: as many as the property top-k takes, and more than a frame of 1080 rows
/// has room for in the smallest usual font.
inline constexpr size_t kMostLines = 100;
/// Most lines of all regions' labels together: each takes up to a millisecond to lay out.
inline constexpr size_t kMostRegionLines = 1024;

/// The best `top_k` tags of each result with a score as "0.97", whatever the locale, all full-frame
/// results in one block (under their models' names if there are several), a region's results in one
/// block each. Control characters become spaces, bytes that are no UTF-8 are replaced, and a name
/// of more than 256 letters ends there, with an ellipsis. Lines above the limits are left out, the
/// last ones.
std::vector<OverlayLabel> overlay_labels(std::span<const Classification> results, unsigned top_k);

}  // namespace tome::gst
