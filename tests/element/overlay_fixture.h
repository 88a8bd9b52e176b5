// Results and rectangles for the tests of tomeoverlay.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "element_fixture.h"
#include "overlay_labels.h"
#include "overlay_painter.h"

namespace tome::testing {

inline Classification result(std::vector<gst::Tag> tags,
                             std::optional<std::array<int, 4>> region = std::nullopt) {
  Classification made;
  made.model = "vit";
  made.region = region;
  made.tags = std::move(tags);
  return made;
}

inline constexpr const char* kCaps = "video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1";
inline const std::vector<Classification> kOne{result({{1, "pan-left", 0.98}})};

/// A frame of kCaps with that one result.
inline GstBuffer* tagged_frame(gsize bytes = 320 * 240) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, bytes, nullptr);
  gst_buffer_memset(buffer, 0, 100, bytes);
  gst::attach_results(buffer, kOne);
  return buffer;
}

struct Rectangle {
  int x = 0, y = 0;
  unsigned width = 0, height = 0;
};

inline std::vector<Rectangle> rectangles_of(GstVideoOverlayComposition* composition) {
  std::vector<Rectangle> all;
  for (guint i = 0; i < gst_video_overlay_composition_n_rectangles(composition); ++i) {
    Rectangle one;
    gst_video_overlay_rectangle_get_render_rectangle(
        gst_video_overlay_composition_get_rectangle(composition, i), &one.x, &one.y, &one.width,
        &one.height);
    all.push_back(one);
  }
  return all;
}

}  // namespace tome::testing
