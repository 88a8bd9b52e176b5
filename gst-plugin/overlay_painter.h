// Text and boxes as overlay rectangles, which GStreamer blends or hands to the display.
#pragma once

#include <gst/video/video.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "overlay_labels.h"

namespace tome::gst {

enum class HorizontalAlign { kLeft, kCenter, kRight };
enum class VerticalAlign { kTop, kBottom };

struct OverlayStyle {
  std::string font = "Sans";     ///< Pango font description; without a size: by the frame's height
  uint32_t color = 0xffffffffU;  ///< of text and boxes, ARGB
  bool shaded = true;            ///< a dark background behind the text
  HorizontalAlign horizontal = HorizontalAlign::kLeft;
  VerticalAlign vertical = VerticalAlign::kTop;

  bool operator==(const OverlayStyle&) const = default;
};

struct ReleaseComposition {
  void operator()(GstVideoOverlayComposition* composition) const {
    gst_video_overlay_composition_unref(composition);
  }
};
using CompositionPtr = std::unique_ptr<GstVideoOverlayComposition, ReleaseComposition>;

/// Draws with Pango and Cairo. What was drawn last is kept, for results stay for many frames.
class OverlayPainter {
 public:
  /// Most regions that are drawn on one frame.
  static constexpr size_t kMostRegions = 256;

  /// The composition of `labels` on a frame of width x height pixels; null if it is empty.
  CompositionPtr paint(const std::vector<OverlayLabel>& labels, const OverlayStyle& style,
                       int width, int height);

 private:
  CompositionPtr last_;
  std::vector<OverlayLabel> labels_;
  OverlayStyle style_;
  int width_ = 0, height_ = 0;
};

}  // namespace tome::gst
