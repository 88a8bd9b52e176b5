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

/// How a frame is shown.
struct OverlayView {
  double aspect = 1;            ///< of a pixel: its width by its height
  double across = 1, down = 1;  ///< pixels that a text's picture has for one of the frame

  bool operator==(const OverlayView&) const = default;
};

/// That of width x height pixels of frames of `info`, in a window of so many pixels, 0 where that
/// is unknown. Texts are as fine as the window, and never coarser than the frame.
OverlayView view_of(const GstVideoInfo& info, int width, int height, unsigned window_width = 0,
                    unsigned window_height = 0);

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
  /// Most pixels that the finer texts of a frame have: those of a 4K screen. Where a text would
  /// exceed them it is as coarse as the frame.
  static constexpr int64_t kMostFinePixels = int64_t{3840} * 2160;

  /// The composition of `labels` on a frame of width x height pixels; null if it is empty. Where
  /// things are does not depend on how fine the view is.
  CompositionPtr paint(const std::vector<OverlayLabel>& labels, const OverlayStyle& style,
                       int width, int height, const OverlayView& view = {});

 private:
  CompositionPtr last_;
  std::vector<OverlayLabel> labels_;
  OverlayStyle style_;
  int width_ = 0, height_ = 0;
  OverlayView view_;
};

}  // namespace tome::gst
