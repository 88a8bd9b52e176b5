// tomeoverlay: what it writes, where, and whether it blends or leaves that to downstream.
#include "overlay_labels.h"

#include <algorithm>
#include <set>

#include "element_fixture.h"
#include "overlay_painter.h"

namespace tome::testing {
namespace {

using gst::CompositionPtr;
using gst::overlay_labels;
using gst::OverlayLabel;
using gst::OverlayPainter;
using gst::OverlayStyle;

Classification result(std::vector<gst::Tag> tags,
                      std::optional<std::array<int, 4>> region = std::nullopt) {
  Classification made;
  made.model = "vit";
  made.region = region;
  made.tags = std::move(tags);
  return made;
}

TEST(OverlayLabels, AreTheBestTagsOfTheFrameALineEach) {
  const std::vector<Classification> results{
      result({{1, "pan-left", 0.981}, {2, "steady", 0.019}, {3, "tilt", 0.0}})};
  EXPECT_EQ(overlay_labels(results, 2),
            (std::vector<OverlayLabel>{{"pan-left 0.98\nsteady 0.02", std::nullopt}}));
  EXPECT_TRUE(overlay_labels(results, 0).empty());
  EXPECT_TRUE(overlay_labels({}, 3).empty());
}

TEST(OverlayLabels, OfSeveralModelsStandUnderTheirNames) {
  std::vector<Classification> results{result({{1, "cat", 0.5}}), result({{2, "dog", 0.25}})};
  results[1].model = "deit";
  EXPECT_EQ(overlay_labels(results, 1),
            (std::vector<OverlayLabel>{{"vit:\ncat 0.50\ndeit:\ndog 0.25", std::nullopt}}));
}

TEST(OverlayLabels, OfRegionsHaveTheirBoxEvenWithoutATag) {
  const std::array<int, 4> one{1, 2, 3, 4}, two{5, 6, 7, 8};
  const std::vector<Classification> results{result({{1, "cat", 0.5}}, one), result({}, two)};
  EXPECT_EQ(overlay_labels(results, 1), (std::vector<OverlayLabel>{{"cat 0.50", one}, {"", two}}));
}

TEST(OverlayLabels, AreValidTextWhateverTheLabelHolds) {
  const std::vector<Classification> results{
      result({{1, "a\nb\x01", 1}, {7, "", 1}, {2, "\xff\xfe", 1}})};
  const auto labels = overlay_labels(results, 3);
  ASSERT_EQ(labels.size(), 1U);
  EXPECT_TRUE(g_utf8_validate(labels[0].text.c_str(), -1, nullptr));
  EXPECT_EQ(labels[0].text.substr(0, 17), "a b  1.00\n7 1.00\n");
}

struct Rectangle {
  int x = 0, y = 0;
  unsigned width = 0, height = 0;
};

std::vector<Rectangle> rectangles_of(GstVideoOverlayComposition* composition) {
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

TEST(OverlayPainter, PutsTextWhereTheStyleSays) {
  const std::vector<OverlayLabel> labels{{"pan-left 0.98", std::nullopt}};
  for (const bool right : {false, true}) {
    for (const bool bottom : {false, true}) {
      OverlayStyle style;
      style.horizontal = right ? gst::HorizontalAlign::kRight : gst::HorizontalAlign::kLeft;
      style.vertical = bottom ? gst::VerticalAlign::kBottom : gst::VerticalAlign::kTop;
      OverlayPainter painter;
      const auto composition = painter.paint(labels, style, 640, 480);
      ASSERT_NE(composition, nullptr);
      const auto all = rectangles_of(composition.get());
      ASSERT_EQ(all.size(), 1U);
      EXPECT_EQ(all[0].x > 320, right);
      EXPECT_EQ(all[0].y > 240, bottom);
      EXPECT_LE(all[0].x + static_cast<int>(all[0].width), 640);
      EXPECT_LE(all[0].y + static_cast<int>(all[0].height), 480);
    }
  }
}

TEST(OverlayPainter, PutsARegionsTextAboveItsBoxOrInsideAtTheTopOfTheFrame) {
  OverlayPainter painter;
  for (const int y : {200, 3}) {
    const auto composition =
        painter.paint({{"cat 0.50", std::array<int, 4>{100, y, 300, 200}}}, {}, 640, 480);
    const auto all = rectangles_of(composition.get());
    ASSERT_EQ(all.size(), 5U) << "four sides and the text";
    EXPECT_EQ(all[0].x, 100);
    EXPECT_EQ(all[0].y, y);
    EXPECT_EQ(all[0].width, 300U);
    EXPECT_EQ(all[1].y + static_cast<int>(all[1].height), y + 200);
    EXPECT_EQ(all[3].x + static_cast<int>(all[3].width), 400);
    EXPECT_EQ(all[4].x, 100);
    const int bottom = all[4].y + static_cast<int>(all[4].height);
    EXPECT_EQ(y == 200 ? bottom : all[4].y, y);
  }
}

TEST(OverlayPainter, StaysInTheFrameWhateverItsSizeAndTheBoxes) {
  OverlayPainter painter;
  constexpr int kHuge = 2000000000;
  for (const auto& [width, height] : {std::pair{1, 1}, {16, 8}, {640, 480}}) {
    for (const std::array<int, 4> box : {std::array{0, 0, 1, 1},
                                         {-5, -5, 8, 8},
                                         {3, 3, 0, 0},
                                         {kHuge, kHuge, 5, 5},
                                         {0, 0, kHuge, kHuge}}) {
      const auto composition =
          painter.paint({{std::string(500, 'W'), box}, {"a", std::nullopt}}, {}, width, height);
      ASSERT_NE(composition, nullptr);
      for (const Rectangle& one : rectangles_of(composition.get())) {
        EXPECT_GE(one.x, 0);
        EXPECT_GE(one.y, 0);
        EXPECT_LE(one.width, static_cast<unsigned>(width) + 64);
        EXPECT_LE(one.height, static_cast<unsigned>(height) + 64);
      }
    }
  }
}

TEST(OverlayPainter, KeepsWhatItDrewUntilSomethingChanges) {
  OverlayPainter painter;
  const std::vector<OverlayLabel> labels{{"cat 0.50", std::nullopt}};
  const auto first = painter.paint(labels, {}, 640, 480);
  EXPECT_EQ(painter.paint(labels, {}, 640, 480).get(), first.get());
  EXPECT_NE(painter.paint(labels, {}, 320, 240).get(), first.get());
  EXPECT_NE(painter.paint({{"cat 0.51", std::nullopt}}, {}, 640, 480).get(), first.get());
  EXPECT_EQ(painter.paint({}, {}, 640, 480), nullptr);
}

TEST(OverlayPainter, DrawsNoMoreRegionsThanItsLimit) {
  std::vector<OverlayLabel> labels;
  for (int i = 0; i < 5000; ++i) {
    labels.push_back({"", std::array<int, 4>{i % 600, i % 400, 20, 20}});
  }
  OverlayPainter painter;
  const auto composition = painter.paint(labels, {}, 640, 480);
  EXPECT_EQ(rectangles_of(composition.get()).size(), 4 * OverlayPainter::kMostRegions);
}

constexpr int kWidth = 320, kHeight = 240;
constexpr const char* kCaps = "video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1";

GstBuffer* gray_frame(std::span<const Classification> results) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, kWidth * kHeight, nullptr);
  gst_buffer_memset(buffer, 0, 100, kWidth * kHeight);
  GST_BUFFER_PTS(buffer) = 0;
  if (!results.empty()) gst::attach_results(buffer, results);
  return buffer;
}

/// Rows and columns of pixels that are not the 100 that gray_frame put there.
struct Drawn {
  std::set<int> rows, columns;
  uint8_t brightest = 0;
};

Drawn drawn_on(GstBuffer* buffer) {
  Drawn drawn;
  GstMapInfo map;
  EXPECT_TRUE(gst_buffer_map(buffer, &map, GST_MAP_READ));
  for (int i = 0; i < kWidth * kHeight; ++i) {
    if (map.data[i] == 100) continue;
    drawn.rows.insert(i / kWidth);
    drawn.columns.insert(i % kWidth);
    drawn.brightest = std::max(drawn.brightest, map.data[i]);
  }
  gst_buffer_unmap(buffer, &map);
  return drawn;
}

const std::vector<Classification> kOne{result({{1, "pan-left", 0.98}})};

class Overlay : public ElementTest {
 protected:
  static bool says_feature(GstPad* pad) {
    const Ptr<GstCaps> caps(gst_pad_get_current_caps(pad));
    return gst_caps_features_contains(gst_caps_get_features(caps.get(), 0),
                                      GST_CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION) != FALSE;
  }
};

TEST_F(Overlay, BlendsTheTextIntoItsCornerOnly) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  const Drawn drawn = drawn_on(h.pull().get());
  ASSERT_FALSE(drawn.rows.empty());
  EXPECT_LT(*drawn.rows.rbegin(), kHeight / 4);
  EXPECT_LT(*drawn.columns.rbegin(), kWidth / 2);
  EXPECT_GT(drawn.brightest, 200) << "white letters";
}

TEST_F(Overlay, FollowsItsPropertiesWhilePlaying) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  g_object_set(h.element(), "valignment", 1, "halignment", 2, "color", 0xff000000U,
               "shaded-background", FALSE, "font-desc", "Sans 12", nullptr);
  ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  Drawn drawn = drawn_on(h.pull().get());
  ASSERT_FALSE(drawn.rows.empty());
  EXPECT_GT(*drawn.rows.begin(), kHeight * 3 / 4);
  EXPECT_GT(*drawn.columns.begin(), kWidth / 2);
  EXPECT_LT(drawn.brightest, 100) << "black letters, nothing behind them";
  g_object_set(h.element(), "silent", TRUE, nullptr);
  ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  EXPECT_TRUE(drawn_on(h.pull().get()).rows.empty());
}

TEST_F(Overlay, LeavesFramesWithoutAResultAlone) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  GstBuffer* buffer = gray_frame({});
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  EXPECT_EQ(out.get(), buffer);
  EXPECT_TRUE(drawn_on(out.get()).rows.empty());
}

TEST_F(Overlay, DrawsABoxAroundItsRegion) {
  Harness h({{"top-k", "0"}}, "tomeoverlay");
  h.set_caps(kCaps);
  const std::vector<Classification> results{result({{1, "cat", 0.5}}, std::array{50, 60, 100, 80})};
  ASSERT_EQ(h.push(gray_frame(results)), GST_FLOW_OK);
  const Drawn drawn = drawn_on(h.pull().get());
  EXPECT_EQ(*drawn.rows.begin(), 60);
  EXPECT_EQ(*drawn.rows.rbegin(), 139);
  EXPECT_EQ(*drawn.columns.begin(), 50);
  EXPECT_EQ(*drawn.columns.rbegin(), 149);
}

TEST_F(Overlay, ASharedFramesPixelsStayAsTheyAre) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  const Ptr<GstBuffer> shared(gray_frame(kOne));
  ASSERT_EQ(h.push(gst_buffer_ref(shared.get())), GST_FLOW_OK);
  EXPECT_FALSE(drawn_on(h.pull().get()).rows.empty());
  EXPECT_TRUE(drawn_on(shared.get()).rows.empty());
}

TEST_F(Overlay, LeavesTheDrawingToADownstreamThatComposes) {
  Harness h({}, "tomeoverlay");
  gst_harness_add_propose_allocation_meta(h.get(), GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE,
                                          nullptr);
  h.set_caps(kCaps);
  const Ptr<GstBuffer> shared(gray_frame(kOne));
  ASSERT_EQ(h.push(gst_buffer_ref(shared.get())), GST_FLOW_OK);
  const auto out = h.pull();
  EXPECT_TRUE(says_feature(h.src()));
  EXPECT_TRUE(drawn_on(out.get()).rows.empty());
  EXPECT_EQ(gst_buffer_peek_memory(out.get(), 0), gst_buffer_peek_memory(shared.get(), 0))
      << "not copied";
  auto* meta = gst_buffer_get_video_overlay_composition_meta(out.get());
  ASSERT_NE(meta, nullptr);
  EXPECT_EQ(rectangles_of(meta->overlay).size(), 1U);
  EXPECT_EQ(gst_buffer_get_video_overlay_composition_meta(shared.get()), nullptr);
}

TEST_F(Overlay, BlendsForADownstreamThatTakesAnyCapsButDoesNotCompose) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
    const auto out = h.pull();
    EXPECT_FALSE(drawn_on(out.get()).rows.empty()) << i;
    EXPECT_EQ(gst_buffer_get_video_overlay_composition_meta(out.get()), nullptr);
  }
  EXPECT_FALSE(says_feature(h.src())) << "negotiated anew";
}

TEST_F(Overlay, BlendsForADownstreamThatRefusesTheFeature) {
  Harness h({}, "tomeoverlay");
  gst_harness_set_sink_caps_str(h.get(), "video/x-raw,format=GRAY8");
  h.set_caps(kCaps);
  ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  EXPECT_FALSE(drawn_on(h.pull().get()).rows.empty());
}

TEST_F(Overlay, DrawsOverWhatAnElementBeforeAttached) {
  for (const bool composes : {true, false}) {
    Harness h({}, "tomeoverlay");
    if (composes) {
      gst_harness_add_propose_allocation_meta(h.get(), GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE,
                                              nullptr);
    }
    h.set_caps(
        "video/x-raw(meta:GstVideoOverlayComposition),format=GRAY8,width=320,height=240,"
        "framerate=10/1");
    OverlayPainter painter;
    const auto before =
        painter.paint({{"", std::array<int, 4>{200, 200, 50, 30}}}, {}, kWidth, kHeight);
    GstBuffer* buffer = gray_frame(kOne);
    gst_buffer_add_video_overlay_composition_meta(buffer, before.get());
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto out = h.pull();
    auto* meta = gst_buffer_get_video_overlay_composition_meta(out.get());
    if (composes) {
      ASSERT_NE(meta, nullptr);
      EXPECT_EQ(rectangles_of(meta->overlay).size(), 5U);
    } else {
      EXPECT_EQ(meta, nullptr);
      EXPECT_EQ(*drawn_on(out.get()).rows.rbegin(), 229);
    }
  }
}

TEST_F(Overlay, PassesFramesInOtherMemoryToADownstreamThatComposes) {
  Harness h({}, "tomeoverlay");
  gst_harness_add_propose_allocation_meta(h.get(), GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE,
                                          nullptr);
  h.set_caps("video/x-raw(memory:Elsewhere),format=RGBA,width=320,height=240,framerate=10/1");
  GstBuffer* buffer = gray_frame(kOne);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_NE(gst_buffer_get_video_overlay_composition_meta(h.pull().get()), nullptr);
}

TEST_F(Overlay, ABufferSmallerThanItsCapsIsAnError) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 5, nullptr);
  gst::attach_results(buffer, kOne);
  EXPECT_EQ(h.push(buffer), GST_FLOW_ERROR);
  const std::string text = h.error_text();
  EXPECT_NE(text.find("5 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("320x240"), std::string::npos) << text;
}

class OverlayFormats : public Overlay, public ::testing::WithParamInterface<const char*> {};

TEST_P(OverlayFormats, AreBlended) {
  Harness h({}, "tomeoverlay");
  gst_harness_set_sink_caps_str(h.get(), "video/x-raw");
  const std::string caps =
      std::string("video/x-raw,width=320,height=240,framerate=10/1,format=") + GetParam();
  h.set_caps(caps.c_str());
  GstVideoInfo info;
  const Ptr<GstCaps> parsed(gst_caps_from_string(caps.c_str()));
  ASSERT_TRUE(gst_video_info_from_caps(&info, parsed.get()));
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, GST_VIDEO_INFO_SIZE(&info), nullptr);
  gst_buffer_memset(buffer, 0, 100, GST_VIDEO_INFO_SIZE(&info));
  gst::attach_results(buffer, kOne);
  const Ptr<GstBuffer> before(gst_buffer_copy_deep(buffer));
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  GstMapInfo map;
  const auto out = h.pull();
  ASSERT_TRUE(gst_buffer_map(out.get(), &map, GST_MAP_READ));
  EXPECT_NE(gst_buffer_memcmp(before.get(), 0, map.data, map.size), 0);
  gst_buffer_unmap(out.get(), &map);
}

INSTANTIATE_TEST_SUITE_P(OfTomeclassify, OverlayFormats,
                         ::testing::Values("RGB", "BGR", "RGBx", "BGRx", "RGBA", "BGRA", "GRAY8",
                                           "NV12", "I420", "YUY2", "UYVY", "P010_10LE"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(Overlay, StandsBehindTomeclassify) {
  int darkened = 0;
  const auto look = [&](GstBuffer* buffer) {
    GstMapInfo map;
    ASSERT_TRUE(gst_buffer_map(buffer, &map, GST_MAP_READ));
    if (*std::min_element(map.data, map.data + map.size) < 128) ++darkened;
    gst_buffer_unmap(buffer, &map);
  };
  EXPECT_EQ(play("videotestsrc num-buffers=3 pattern=white ! "
                 "video/x-raw,format=I420,width=320,height=240 ! tomeclassify model=m ! "
                 "tomeoverlay ! videoconvert ! video/x-raw,format=GRAY8",
                 look),
            "");
  EXPECT_EQ(darkened, 3);
}

}  // namespace
}  // namespace tome::testing
