// Where the texts of a frame stand, so that they can be read.
#pragma once

#include <vector>

namespace tome::gst {

/// Pixels of a frame.
struct Area {
  int x = 0, y = 0, width = 0, height = 0;

  bool operator==(const Area&) const = default;
};

/// Gives the texts of one frame their places, one after the other.
class LabelPlaces {
 public:
  /// Of a frame of width x height pixels.
  LabelPlaces(int width, int height) : width_(width), height_(height) {}

  /// Takes `place` for a text, whatever is there.
  void take(const Area& place) { taken_.push_back(place); }

  /// The place of a text of width x height pixels, at most the frame's, beside `box`: above it,
  /// inside at its top, below, inside at its bottom, each from its left edge on or up to its right
  /// one. It is the first of these that stays off all other texts, else the one that covers the
  /// least of them.
  Area beside(const Area& box, int width, int height);

 private:
  int width_, height_;
  std::vector<Area> taken_;
};

}  // namespace tome::gst
