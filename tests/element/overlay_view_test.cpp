// tomeoverlay where downstream says how large its window is, and where pixels are not square.
#include <algorithm>
#include <limits>

#include "overlay_fixture.h"

namespace tome::testing {
namespace {

using gst::OverlayLabel;
using gst::OverlayPainter;
using gst::OverlayStyle;
using gst::OverlayView;

constexpr unsigned kMost = std::numeric_limits<unsigned>::max();

/// A text as it is in the composition.
struct Text {
  Rectangle place;
  unsigned width = 0, height = 0;  // of its picture
  double mean = 0;                 // of the picture's bytes
};

Text text_of(GstVideoOverlayComposition* composition, guint number = 0) {
  Text text{rectangles_of(composition).at(number)};
  GstBuffer* pixels = gst_video_overlay_rectangle_get_pixels_unscaled_raw(
      gst_video_overlay_composition_get_rectangle(composition, number),
      GST_VIDEO_OVERLAY_FORMAT_FLAG_PREMULTIPLIED_ALPHA);
  const GstVideoMeta* meta = gst_buffer_get_video_meta(pixels);
  text.width = meta->width;
  text.height = meta->height;
  GstMapInfo map;
  EXPECT_TRUE(gst_buffer_map(pixels, &map, GST_MAP_READ));
  for (gsize i = 0; i < map.size; ++i) text.mean += map.data[i] / static_cast<double>(map.size);
  gst_buffer_unmap(pixels, &map);
  return text;
}

bool same_place(const Rectangle& a, const Rectangle& b) {
  return a.x == b.x && a.y == b.y && a.width == b.width && a.height == b.height;
}

/// Downstream of an element: it composes in a window of this size, 0: without saying so.
class Window {
 public:
  Window(Harness& h, unsigned width, unsigned height) : width_(width), height_(height), h_(h) {
    probe_ = gst_pad_add_probe(h.src(), GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer, this, nullptr);
  }
  ~Window() { gst_pad_remove_probe(h_.src(), probe_); }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  /// As sinks do it: the next answer has the new size.
  void resize(unsigned width, unsigned height) {
    width_ = width;
    height_ = height;
    gst_harness_push_upstream_event(h_.get(), gst_event_new_reconfigure());
  }

 private:
  static GstPadProbeReturn answer(GstPad*, GstPadProbeInfo* info, gpointer data) {
    GstQuery* query = GST_PAD_PROBE_INFO_QUERY(info);
    if (GST_QUERY_TYPE(query) != GST_QUERY_ALLOCATION) return GST_PAD_PROBE_OK;
    const auto* self = static_cast<Window*>(data);
    const Ptr<GstStructure> size(gst_structure_new("GstVideoOverlayCompositionMeta", "width",
                                                   G_TYPE_UINT, self->width_, "height", G_TYPE_UINT,
                                                   self->height_, nullptr));
    const bool says = self->width_ != 0 || self->height_ != 0;
    gst_query_add_allocation_meta(query, GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE,
                                  says ? size.get() : nullptr);
    return GST_PAD_PROBE_HANDLED;
  }

  unsigned width_, height_;
  Harness& h_;
  gulong probe_;
};

/// What is attached to the next frame.
Text next_text(Harness& h) {
  EXPECT_EQ(h.push(tagged_frame()), GST_FLOW_OK);
  const auto out = h.pull();
  auto* meta = gst_buffer_get_video_overlay_composition_meta(out.get());
  EXPECT_NE(meta, nullptr);
  return meta != nullptr ? text_of(meta->overlay) : Text();
}

using OverlayInAWindow = ElementTest;

TEST_F(OverlayInAWindow, TextsAreAsFineAsItAndStandWhereTheyStood) {
  for (const char* caps :
       {kCaps, "video/x-raw(memory:Elsewhere),format=RGBA,width=320,height=240,framerate=10/1"}) {
    Harness h({}, "tomeoverlay");
    Window window(h, 0, 0);
    h.set_caps(caps);
    const Text coarse = next_text(h);
    EXPECT_EQ(coarse.width, coarse.place.width) << caps;
    EXPECT_EQ(coarse.height, coarse.place.height) << caps;
    for (const auto& [width, height, times] : {std::tuple{1280U, 960U, 4U},
                                               {640U, 4000U, 2U},
                                               {160U, 120U, 1U},
                                               {960U, 720U, 3U},
                                               {960U, 0U, 1U}}) {
      window.resize(width, height);
      const Text text = next_text(h);
      EXPECT_TRUE(same_place(text.place, coarse.place)) << width << "x" << height;
      EXPECT_EQ(text.width, times * coarse.width) << width << "x" << height;
      EXPECT_EQ(text.height, times * coarse.height) << width << "x" << height;
      EXPECT_NEAR(text.mean, coarse.mean, 0.1 * coarse.mean) << "the same text, as large";
    }
  }
}

TEST_F(OverlayInAWindow, OfAnAbsurdSizeTakesNoMemoryWithoutBound) {
  Harness h({}, "tomeoverlay");
  Window window(h, kMost, kMost);
  h.set_caps(kCaps);
  const Text text = next_text(h);
  EXPECT_GT(text.width, text.place.width);
  EXPECT_LE(std::max(text.width, text.height), 8192U);
  for (const auto& [width, height] : {std::pair{1U, kMost}, {kMost, 1U}, {kMost, 0U}}) {
    window.resize(width, height);
    EXPECT_EQ(next_text(h).width, text.place.width);
  }
}

TEST_F(OverlayInAWindow, OfADownstreamWithoutTheFeatureTheTextIsBlendedAsEver) {
  std::vector<Ptr<GstBuffer>> frames;
  for (const unsigned width : {0U, 1280U}) {
    Harness h({}, "tomeoverlay");
    const Window window(h, width, width);
    gst_harness_set_sink_caps_str(h.get(), "video/x-raw,format=GRAY8");
    h.set_caps(kCaps);
    ASSERT_EQ(h.push(tagged_frame()), GST_FLOW_OK);
    frames.push_back(h.pull());
    EXPECT_EQ(gst_buffer_get_video_overlay_composition_meta(frames.back().get()), nullptr);
  }
  GstMapInfo map;
  ASSERT_TRUE(gst_buffer_map(frames[0].get(), &map, GST_MAP_READ));
  EXPECT_EQ(gst_buffer_memcmp(frames[1].get(), 0, map.data, map.size), 0);
  gst_buffer_unmap(frames[0].get(), &map);
}

TEST_F(OverlayInAWindow, FramesThatCanBeBlendedAreWhereThoseBeforeCouldNot) {
  Harness h({}, "tomeoverlay");
  h.set_caps("video/x-raw(memory:Elsewhere),format=RGBA,width=320,height=240,framerate=10/1");
  next_text(h);
  h.set_caps(kCaps);
  ASSERT_EQ(h.push(tagged_frame()), GST_FLOW_OK);
  const auto out = h.pull();
  EXPECT_EQ(gst_buffer_get_video_overlay_composition_meta(out.get()), nullptr)
      << "nobody composes it";
}

TEST(OverlayView, ManyLargeTextsAreAsCoarseAsTheFrameWhereTheirPixelsWouldBeTooMany) {
  std::vector<OverlayLabel> labels;
  for (int i = 0; i < 256; ++i) {
    labels.push_back({{{"cat", "0.50"}}, std::array{2 * i, i, 50, 50}});
  }
  OverlayStyle style;
  style.font = "Sans 100px";
  const auto composition = OverlayPainter().paint(labels, style, 640, 480, OverlayView{1, 8, 8});
  int64_t pixels = 0;
  int fine = 0, coarse = 0;
  for (guint i = 4 * 256; i < 5 * 256; ++i) {
    const Text text = text_of(composition.get(), i);
    text.width > text.place.width ? ++fine : ++coarse;
    if (text.width > text.place.width) pixels += int64_t{text.width} * text.height;
  }
  EXPECT_GT(fine, 0);
  EXPECT_GT(coarse, 0);
  EXPECT_LE(pixels, OverlayPainter::kMostFinePixels);
}

TEST(OverlayView, IsDrawnAnew) {
  OverlayPainter painter;
  const std::vector<OverlayLabel> labels{{{{"cat", "0.50"}}, std::nullopt}};
  const auto first = painter.paint(labels, {}, 640, 480, OverlayView{1, 2, 2});
  EXPECT_EQ(painter.paint(labels, {}, 640, 480, OverlayView{1, 2, 2}).get(), first.get());
  EXPECT_NE(painter.paint(labels, {}, 640, 480, OverlayView{1, 3, 3}).get(), first.get());
}

TEST(OverlayView, TextsKeepTheirShapeWherePixelsAreNotSquare) {
  for (const bool shaded : {true, false}) {
    OverlayStyle style;
    style.font = "Sans 20px";
    style.shaded = shaded;
    const auto text = [&](double aspect) {
      return text_of(OverlayPainter()
                         .paint({{{{"pan-left", "0.98"}}, std::nullopt}}, style, 640, 480,
                                OverlayView{aspect, 1, 1})
                         .get());
    };
    const Text square = text(1);
    for (const double aspect : {2.0, 0.5, 16.0 / 11}) {
      const Text other = text(aspect);
      constexpr double kMargins = 12;  // of two lines and two pixels on each side
      EXPECT_EQ(other.height, square.height) << aspect;
      EXPECT_NEAR((other.width - kMargins) * aspect, square.width - kMargins, 2) << aspect;
      EXPECT_EQ(other.width, other.place.width) << "blended without a scaler";
    }
  }
}

TEST(OverlayView, ALongTextStaysInTheFrameWhateverThePixels) {
  for (const double aspect : {8.0, 0.125}) {
    const auto composition = OverlayPainter().paint(
        {{{{std::string(250, 'W'), "1"}}, std::nullopt}}, {}, 320, 240, OverlayView{aspect, 1, 1});
    const Rectangle place = rectangles_of(composition.get()).at(0);
    EXPECT_LE(place.x + static_cast<int>(place.width), 320) << aspect;
    EXPECT_GT(place.width, 160U) << aspect;
  }
}

TEST(OverlayView, OfAWindowFollowsThePixelsShape) {
  GstVideoInfo info;
  ASSERT_TRUE(gst_video_info_set_format(&info, GST_VIDEO_FORMAT_GRAY8, 320, 240));
  EXPECT_EQ(gst::view_of(info, 320, 240), (OverlayView{1, 1, 1}));
  info.par_n = 2;
  EXPECT_EQ(gst::view_of(info, 320, 240), (OverlayView{2, 1, 1}));
  EXPECT_EQ(gst::view_of(info, 320, 240, 1280, 960), (OverlayView{2, 4, 2}));
  info.par_n = std::numeric_limits<int>::max();
  EXPECT_EQ(gst::view_of(info, 320, 240), (OverlayView{8, 1, 1}));
  info.par_n = 0;
  EXPECT_EQ(gst::view_of(info, 320, 240), (OverlayView{1, 1, 1}));
}

TEST_F(OverlayInAWindow, BlendedTextIsNarrowerWherePixelsAreWide) {
  const auto last_column = [](const char* caps) {
    Harness h({{"font-desc", "Sans 12px"}}, "tomeoverlay");
    h.set_caps(caps);
    EXPECT_EQ(h.push(tagged_frame()), GST_FLOW_OK);
    const auto out = h.pull();
    GstMapInfo map;
    EXPECT_TRUE(gst_buffer_map(out.get(), &map, GST_MAP_READ));
    int last = 0;
    for (int i = 0; i < 320 * 240; ++i) {
      if (map.data[i] != 100) last = std::max(last, i % 320);
    }
    gst_buffer_unmap(out.get(), &map);
    return last;
  };
  const int square = last_column(kCaps);
  const int wide = last_column(
      "video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1,pixel-aspect-ratio=2/1");
  EXPECT_LT(wide, 0.7 * square);
}

}  // namespace
}  // namespace tome::testing
