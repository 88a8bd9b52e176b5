#include "overlay_painter.h"

#include <pango/pangocairo.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "gst_ptr.h"
#include "label_places.h"

namespace tome::gst {
namespace {

struct ReleaseDrawing {
  void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
  void operator()(cairo_t* cairo) const { cairo_destroy(cairo); }
  void operator()(PangoLayout* layout) const { g_object_unref(layout); }
  void operator()(PangoFontDescription* font) const { pango_font_description_free(font); }
  void operator()(GstVideoOverlayRectangle* rectangle) const {
    gst_video_overlay_rectangle_unref(rectangle);
  }
};
template <class T>
using DrawingPtr = std::unique_ptr<T, ReleaseDrawing>;

constexpr double kShade = 0.6;  // opacity of the background

struct Size {
  int width = 0, height = 0;
};

void set_color(cairo_t* cairo, uint32_t argb) {
  const auto part = [argb](int shift) { return ((argb >> shift) & 0xffU) / 255.0; };
  cairo_set_source_rgba(cairo, part(16), part(8), part(0), part(24));
}

/// A picture of so many pixels that `draw` fills as if they were the frame's at `place`. Cairo's
/// ARGB32 is what GStreamer's overlays are made of: premultiplied, in the machine's byte order.
DrawingPtr<GstVideoOverlayRectangle> rectangle(const Area& place, Size size,
                                               const std::function<void(cairo_t*)>& draw) {
  const int stride = cairo_format_stride_for_width(CAIRO_FORMAT_ARGB32, size.width);
  const Ptr<GstBuffer> pixels(
      gst_buffer_new_allocate(nullptr, static_cast<gsize>(stride) * size.height, nullptr));
  gst_buffer_memset(pixels.get(), 0, 0, static_cast<gsize>(stride) * size.height);
  gst_buffer_add_video_meta(pixels.get(), GST_VIDEO_FRAME_FLAG_NONE,
                            GST_VIDEO_OVERLAY_COMPOSITION_FORMAT_RGB,
                            static_cast<guint>(size.width), static_cast<guint>(size.height));
  GstMapInfo map;
  if (gst_buffer_map(pixels.get(), &map, GST_MAP_READWRITE) == FALSE) return nullptr;
  {
    const DrawingPtr<cairo_surface_t> surface(cairo_image_surface_create_for_data(
        map.data, CAIRO_FORMAT_ARGB32, size.width, size.height, stride));
    const DrawingPtr<cairo_t> cairo(cairo_create(surface.get()));
    cairo_scale(cairo.get(), static_cast<double>(size.width) / place.width,
                static_cast<double>(size.height) / place.height);
    draw(cairo.get());
    cairo_surface_flush(surface.get());
  }
  gst_buffer_unmap(pixels.get(), &map);
  return DrawingPtr<GstVideoOverlayRectangle>(gst_video_overlay_rectangle_new_raw(
      pixels.get(), place.x, place.y, static_cast<guint>(place.width),
      static_cast<guint>(place.height), GST_VIDEO_OVERLAY_FORMAT_FLAG_PREMULTIPLIED_ALPHA));
}

/// The height of a font as Pango takes it, in pixels; 0 if the description has no size.
double font_pixels(const PangoFontDescription& font) {
  const double size = pango_font_description_get_size(&font) / double{PANGO_SCALE};
  if (pango_font_description_get_size_is_absolute(&font) != FALSE) return size;
  auto* fonts = PANGO_CAIRO_FONT_MAP(pango_cairo_font_map_get_default());
  return size * pango_cairo_font_map_get_resolution(fonts) / 72;
}

/// One frame's drawing. Boxes and places are in the frame's pixels, texts are laid out in square
/// ones as high as those.
class Canvas {
 public:
  Canvas(const OverlayStyle& style, int width, int height, const OverlayView& view)
      : style_(style),
        width_(width),
        height_(height),
        view_(view),
        places_(width, height),
        scratch_(cairo_image_surface_create(CAIRO_FORMAT_ARGB32, 1, 1)),
        cairo_(cairo_create(scratch_.get())) {
    font_.reset(pango_font_description_from_string(style.font.c_str()));
    const double size = font_pixels(*font_);
    pango_font_description_set_absolute_size(
        font_.get(), (size > 0 ? std::min<double>(size, height) : usual_size()) * PANGO_SCALE);
    // Two pixels at least: in 4:2:0 the blender takes the colour of every second one.
    line_ = std::max(2, std::min(width, height) / 240);
  }

  /// Boxes first, that none runs through a text; the corner next, for it is where it is, and
  /// regions' texts make room for it.
  void add(std::span<const OverlayLabel> labels) {
    for (const OverlayLabel& label : labels) {
      if (label.region) add_box(*label.region);
    }
    for (const bool of_region : {false, true}) {
      for (const OverlayLabel& label : labels) {
        if (of_region == label.region.has_value() && !label.lines.empty()) add_text(label);
      }
    }
  }

  CompositionPtr take() { return std::move(composition_); }

 private:
  int usual_size() const {
    return std::max(10, std::min(height_ / 24, static_cast<int>(width_ * view_.aspect) / 20));
  }

  DrawingPtr<PangoLayout> layout_of(const std::vector<OverlayLine>& lines) {
    DrawingPtr<PangoLayout> layout(pango_cairo_create_layout(cairo_.get()));
    pango_layout_set_font_description(layout.get(), font_.get());
    std::string fitted;
    for (const OverlayLine& line : lines) {
      if (!fitted.empty()) fitted += '\n';
      fitted += shortened(*layout, line);
    }
    // Where not even the score has room.
    pango_layout_set_width(layout.get(), most_width() * PANGO_SCALE);
    pango_layout_set_ellipsize(layout.get(), PANGO_ELLIPSIZE_END);
    pango_layout_set_text(layout.get(), fitted.c_str(), static_cast<int>(fitted.size()));
    return layout;
  }

  int most_width() const {
    constexpr double kPangosMost = std::numeric_limits<int>::max() / PANGO_SCALE;
    return static_cast<int>(std::clamp((width_ - 4 * padding()) * view_.aspect, 1.0, kPangosMost));
  }

  bool fits(PangoLayout& layout, const std::string& line) const {
    pango_layout_set_text(&layout, line.c_str(), static_cast<int>(line.size()));
    int width = 0;
    pango_layout_get_pixel_size(&layout, &width, nullptr);
    return width <= most_width();
  }

  /// A line that is too long loses the end of its name, never the score behind it.
  std::string shortened(PangoLayout& layout, const OverlayLine& line) const {
    const std::string score = line.score.empty() ? "" : " " + line.score;
    if (fits(layout, line.name + score)) return line.name + score;
    const char* name = line.name.c_str();
    const auto cut = [&](glong letters) {
      const char* end = g_utf8_offset_to_pointer(name, letters);
      return std::string(name, end) + "\u2026" + score;
    };
    glong least = 0, most = g_utf8_strlen(name, -1);
    while (least < most) {
      const glong middle = (least + most + 1) / 2;
      fits(layout, cut(middle)) ? least = middle : most = middle - 1;
    }
    return cut(least);
  }

  int padding() const { return 2 * line_ + 2; }

  void add_text(const OverlayLabel& label) {
    const auto layout = layout_of(label.lines);
    PangoRectangle extents;
    pango_layout_get_pixel_extents(layout.get(), nullptr, &extents);
    // What is larger than the frame is cut off at its edge, before there is memory for it.
    const int width = static_cast<int>(std::ceil(extents.width / view_.aspect));
    const Size size{std::clamp(width + 2 * padding(), 1, width_),
                    std::clamp(extents.height + 2 * padding(), 1, height_)};
    const Area place = label.region ? beside(*label.region, size) : in_corner(size);
    append(rectangle(place, fine_size(size), [&](cairo_t* cairo) {
      if (style_.shaded) {
        cairo_set_source_rgba(cairo, 0, 0, 0, kShade);
        cairo_paint(cairo);
      }
      cairo_scale(cairo, 1 / view_.aspect, 1);
      cairo_move_to(cairo, padding() * view_.aspect - extents.x, padding() - extents.y);
      if (!style_.shaded) add_outline(cairo, layout.get());
      set_color(cairo, style_.color);
      pango_cairo_show_layout(cairo, layout.get());
    }));
  }

  /// The pixels for a text of `size`.
  Size fine_size(Size size) {
    const Size fine{static_cast<int>(std::lround(size.width * view_.across)),
                    static_cast<int>(std::lround(size.height * view_.down))};
    const int64_t pixels = int64_t{fine.width} * fine.height;
    if (pixels == int64_t{size.width} * size.height || pixels > fine_pixels_left_) return size;
    fine_pixels_left_ -= pixels;
    return fine;
  }

  /// White text is read on snow by its dark edge. Leaves the current point where it was.
  void add_outline(cairo_t* cairo, PangoLayout* layout) const {
    double x = 0, y = 0;
    cairo_get_current_point(cairo, &x, &y);
    pango_cairo_layout_path(cairo, layout);
    cairo_set_source_rgba(cairo, 0, 0, 0, kShade);
    cairo_set_line_width(cairo, line_);
    cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_stroke(cairo);
    cairo_move_to(cairo, x, y);
  }

  Area in_corner(Size size) {
    const int margin = padding();
    const Size room{width_ - size.width, height_ - size.height};
    int x = margin;
    if (style_.horizontal == HorizontalAlign::kCenter) x = room.width / 2;
    if (style_.horizontal == HorizontalAlign::kRight) x = room.width - margin;
    const int y = style_.vertical == VerticalAlign::kTop ? margin : room.height - margin;
    const Area place{std::clamp(x, 0, room.width), std::clamp(y, 0, room.height), size.width,
                     size.height};
    places_.take(place);
    return place;
  }

  Area beside(const std::array<int, 4>& box, Size size) {
    return places_.beside({box[0], box[1], box[2], box[3]}, size.width, size.height);
  }

  /// Four thin rectangles: a picture as large as the box would be blended as a whole.
  void add_box(const std::array<int, 4>& box) {
    const int left = std::clamp(box[0], 0, width_);
    const int top = std::clamp(box[1], 0, height_);
    // 64 bits: x + width of a hostile meta wraps around in 32.
    const int right = static_cast<int>(std::clamp<int64_t>(int64_t{box[0]} + box[2], left, width_));
    const int bottom =
        static_cast<int>(std::clamp<int64_t>(int64_t{box[1]} + box[3], top, height_));
    const int across = std::min(line_, bottom - top), down = std::min(line_, right - left);
    add_bar(left, top, {right - left, across});
    add_bar(left, bottom - across, {right - left, across});
    add_bar(left, top, {down, bottom - top});
    add_bar(right - down, top, {down, bottom - top});
  }

  void add_bar(int x, int y, Size size) {
    if (size.width <= 0 || size.height <= 0) return;
    append(rectangle({x, y, size.width, size.height}, size, [this](cairo_t* cairo) {
      set_color(cairo, style_.color);
      cairo_paint(cairo);
    }));
  }

  void append(const DrawingPtr<GstVideoOverlayRectangle>& one) {
    if (!one) return;
    if (composition_) {
      gst_video_overlay_composition_add_rectangle(composition_.get(), one.get());
    } else {
      composition_.reset(gst_video_overlay_composition_new(one.get()));
    }
  }

  const OverlayStyle& style_;
  int width_, height_;
  const OverlayView& view_;
  int64_t fine_pixels_left_ = OverlayPainter::kMostFinePixels;
  int line_ = 1;  // thickness of a box
  LabelPlaces places_;
  DrawingPtr<cairo_surface_t> scratch_;
  DrawingPtr<cairo_t> cairo_;
  DrawingPtr<PangoFontDescription> font_;
  CompositionPtr composition_;
};

}  // namespace

OverlayView view_of(const GstVideoInfo& info, int width, int height, unsigned window_width,
                    unsigned window_height) {
  constexpr double kMostAspect = 8;
  constexpr unsigned kMostSide = 8192;  // of a window, and of a texture on many GPUs
  OverlayView view;
  const int n = GST_VIDEO_INFO_PAR_N(&info), d = GST_VIDEO_INFO_PAR_D(&info);
  if (n > 0 && d > 0)
    view.aspect = std::clamp(static_cast<double>(n) / d, 1 / kMostAspect, kMostAspect);
  // The window shows the frame as large as its shape allows.
  const double scale = std::min(std::min(window_width, kMostSide) / (width * view.aspect),
                                std::min(window_height, kMostSide) / static_cast<double>(height));
  view.across = std::max(1.0, scale * view.aspect);
  view.down = std::max(1.0, scale);
  return view;
}

CompositionPtr OverlayPainter::paint(const std::vector<OverlayLabel>& labels,
                                     const OverlayStyle& style, int width, int height,
                                     const OverlayView& view) {
  const bool same =
      labels == labels_ && style == style_ && width == width_ && height == height_ && view == view_;
  if (!same) {
    Canvas canvas(style, width, height, view);
    const size_t count = std::min(labels.size(), kMostRegions);
    canvas.add(std::span(labels).first(count));
    last_ = canvas.take();
    labels_ = labels;
    style_ = style;
    width_ = width;
    height_ = height;
    view_ = view;
  }
  return CompositionPtr(last_ ? gst_video_overlay_composition_ref(last_.get()) : nullptr);
}

}  // namespace tome::gst
