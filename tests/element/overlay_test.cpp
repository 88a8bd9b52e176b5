// tomeoverlay: whether it blends or leaves that to downstream, and what then is on the frames.
#include <gst/controller/controller.h>

#include <algorithm>
#include <set>

#include "overlay_fixture.h"

namespace tome::testing {
namespace {

using gst::OverlayPainter;

constexpr int kWidth = 320, kHeight = 240;

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

bool says_feature(GstPad* pad) {
  const Ptr<GstCaps> caps(gst_pad_get_current_caps(pad));
  return gst_caps_features_contains(gst_caps_get_features(caps.get(), 0),
                                    GST_CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION) != FALSE;
}

using Overlay = ElementTest;

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

TEST_F(Overlay, FollowsControlledPropertiesByStreamTime) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = 10 * GST_SECOND;  // is 0 in stream time
  ASSERT_TRUE(h.push_event(gst_event_new_segment(&segment)));
  const std::unique_ptr<GstControlSource, decltype(&gst_object_unref)> source(
      gst_interpolation_control_source_new(), gst_object_unref);
  auto* steps = GST_TIMED_VALUE_CONTROL_SOURCE(source.get());
  gst_timed_value_control_source_set(steps, 0, 0);
  gst_timed_value_control_source_set(steps, GST_SECOND, 1);
  ASSERT_TRUE(gst_object_add_control_binding(
      GST_OBJECT(h.element()),
      gst_direct_control_binding_new(GST_OBJECT(h.element()), "silent", source.get())));
  for (const int tenths : {0, 9, 10, 20, 5}) {
    GstBuffer* buffer = gray_frame(kOne);
    GST_BUFFER_PTS(buffer) = segment.start + tenths * kFrame;
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    EXPECT_EQ(drawn_on(h.pull().get()).rows.empty(), tenths >= 10) << tenths;
  }
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

TEST_F(Overlay, ABoxBehindAScalerIsAroundWhatWasClassified) {
  GstHarness* h = gst_harness_new_parse(
      "tomeclassify model=m inference-region=roi-list ! videoscale ! "
      "video/x-raw,width=320,height=240 ! tomeoverlay top-k=0");
  gst_harness_set_src_caps_str(h,
                               "video/x-raw,format=GRAY8,width=640,height=960,framerate=10/1,"
                               "pixel-aspect-ratio=2/1");
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 640 * 960, nullptr);
  gst_buffer_memset(buffer, 0, 100, 640 * 960);
  GST_BUFFER_PTS(buffer) = 0;
  gst_buffer_add_video_region_of_interest_meta(buffer, "cat", 100, 240, 200, 320);
  EXPECT_EQ(gst_harness_push(h, buffer), GST_FLOW_OK);
  const Drawn drawn = drawn_on(Ptr<GstBuffer>(gst_harness_pull(h)).get());
  gst_harness_teardown(h);
  ASSERT_FALSE(drawn.rows.empty());
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

/// Whether each buffer that passes a pad does so under caps with the feature.
class MarkedBuffers {
 public:
  explicit MarkedBuffers(GstPad* pad) : pad_(pad) {
    probe_ = gst_pad_add_probe(pad,
                               static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BUFFER |
                                                            GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM),
                               note, this, nullptr);
  }
  ~MarkedBuffers() { gst_pad_remove_probe(pad_, probe_); }
  MarkedBuffers(const MarkedBuffers&) = delete;
  MarkedBuffers& operator=(const MarkedBuffers&) = delete;

  std::vector<bool> buffers;
  int caps_events = 0;

 private:
  static GstPadProbeReturn note(GstPad* pad, GstPadProbeInfo* info, gpointer data) {
    auto* self = static_cast<MarkedBuffers*>(data);
    if ((info->type & GST_PAD_PROBE_TYPE_BUFFER) != 0) {
      self->buffers.push_back(says_feature(pad));
    } else if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_CAPS) {
      ++self->caps_events;
    }
    return GST_PAD_PROBE_OK;
  }

  GstPad* pad_;
  gulong probe_;
};

TEST_F(Overlay, NoFrameIsBlendedUnderCapsThatSayItIsNot) {
  Harness h({}, "tomeoverlay");
  const MarkedBuffers marked(h.src());
  h.set_caps(kCaps);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  EXPECT_EQ(marked.caps_events, 2) << "with the feature, then, before any frame, without";
  // A downstream that asks for negotiation, but does not compose any more than before.
  gst_harness_push_upstream_event(h.get(), gst_event_new_reconfigure());
  for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  EXPECT_EQ(marked.buffers, std::vector<bool>(4, false));
  EXPECT_EQ(marked.caps_events, 2);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(drawn_on(h.pull().get()).rows.empty()) << i;
}

TEST_F(Overlay, AReconfigureFindsADownstreamThatComposesByNow) {
  Harness h({}, "tomeoverlay");
  const MarkedBuffers marked(h.src());
  h.set_caps(kCaps);
  ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  gst_harness_add_propose_allocation_meta(h.get(), GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE,
                                          nullptr);
  gst_harness_push_upstream_event(h.get(), gst_event_new_reconfigure());
  for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(gray_frame(kOne)), GST_FLOW_OK);
  EXPECT_EQ(marked.buffers, (std::vector<bool>{false, false, true, true}));
  for (const bool attached : marked.buffers) {
    const auto out = h.pull();
    EXPECT_EQ(drawn_on(out.get()).rows.empty(), attached);
    EXPECT_EQ(gst_buffer_get_video_overlay_composition_meta(out.get()) != nullptr, attached);
  }
}

TEST_F(Overlay, DrawsOnWhatACropLeaves) {
  for (const guint x : {kWidth + 0U, kWidth + 1U}) {
    Harness h({}, "tomeoverlay");
    h.set_caps("video/x-raw,format=I420,width=320,height=240,framerate=10/1");
    GstVideoInfo large;
    gst_video_info_set_format(&large, GST_VIDEO_FORMAT_I420, 2 * kWidth + 2, 2 * kHeight);
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, large.size, nullptr);
    gst_buffer_memset(buffer, 0, 100, large.size);
    gst_buffer_add_video_meta(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_I420,
                              2 * kWidth + 2, 2 * kHeight);
    GstVideoCropMeta* crop = gst_buffer_add_video_crop_meta(buffer);
    crop->x = x;
    crop->y = kHeight;
    crop->width = kWidth;
    crop->height = kHeight;
    gst::attach_results(buffer,
                        std::vector{result({{1, "cat", 0.5}}, std::array{50, 60, 100, 80})});
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto out = h.pull();
    std::set<int> rows, columns;
    GstMapInfo map;
    ASSERT_TRUE(gst_buffer_map(out.get(), &map, GST_MAP_READ));
    for (int i = 0; i < 2 * kHeight * large.stride[0]; ++i) {
      if (map.data[i] == 100) continue;
      rows.insert(i / large.stride[0]);
      columns.insert(i % large.stride[0]);
    }
    gst_buffer_unmap(out.get(), &map);
    ASSERT_FALSE(rows.empty());
    EXPECT_EQ(*rows.rbegin(), kHeight + 139);
    EXPECT_EQ(*columns.begin(), kWidth + 50) << "an odd offset begins with its chroma sample";
    EXPECT_EQ(*columns.rbegin(), kWidth + 149);
  }
}

TEST_F(Overlay, ACropOutsideThePictureIsAnError) {
  Harness h({}, "tomeoverlay");
  h.set_caps(kCaps);
  GstBuffer* buffer = gray_frame(kOne);
  GstVideoCropMeta* crop = gst_buffer_add_video_crop_meta(buffer);
  crop->x = 300;
  crop->width = 100;
  crop->height = 10;
  EXPECT_EQ(h.push(buffer), GST_FLOW_ERROR);
  const std::string text = h.error_text();
  EXPECT_NE(text.find("100x10"), std::string::npos) << text;
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
        painter.paint({{{}, std::array<int, 4>{200, 200, 50, 30}}}, {}, kWidth, kHeight);
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
