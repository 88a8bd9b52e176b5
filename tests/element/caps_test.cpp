// Caps that leave something out, and frames that carry an overlay for their sink to compose.
#include "element_fixture.h"
#include "logged_warnings.h"

namespace tome::testing {
namespace {

using Caps = ElementTest;

constexpr const char* kOverlay = GST_CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION;

TEST_F(Caps, MayLeaveOutTheFrameRate) {
  Harness h({{"model", "m"}});
  const char* text = "video/x-raw,format=GRAY8,width=16,height=8";
  const Ptr<GstCaps> caps(gst_caps_from_string(text));
  EXPECT_TRUE(gst_pad_query_accept_caps(h.sink(), caps.get()));
  h.set_caps(text);
  ASSERT_EQ(h.push(7, 0), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 7);
}

TEST_F(Caps, WithoutASizeAreRefused) {
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw,format=GRAY8");
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  EXPECT_NE(h.error_text().find("width"), std::string::npos);
}

/// Caps, and what of them and instead of them has to be named.
struct RefusedCase {
  const char *caps, *found, *expected;
};
constexpr RefusedCase kRefused[] = {
    {"video/x-raw,format=AYUV64,width=16,height=8,framerate=10/1", "AYUV64", "GRAY8, NV12"},
    {"video/x-raw,format=RGB,width=0,height=8,framerate=10/1", "width=(int)0", "1 or more"},
    {"video/x-raw,format=RGB,width=16,height=0,framerate=10/1", "height=(int)0", "1 or more"},
    {"audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved", "audio", "video/x-raw"},
    {"video/x-raw(memory:DMABuf),format=RGB,width=16,height=8", "DMABuf", "system memory"},
    {"video/x-raw(memory:CUDAMemory),format=GRAY8,width=16,height=8", "GRAY8", "{ NV12, RGBA"}};

TEST_F(Caps, ThatCannotBeTakenAreAnErrorOfOurs) {
  for (const auto& [caps, found, expected] : kRefused) {
    Harness h({{"model", "m"}});
    h.set_caps(caps);
    EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
    GError* error = nullptr;
    const std::string text = h.error_text(&error);
    ASSERT_NE(error, nullptr) << caps;
    const Ptr<GError> owned(error);
    EXPECT_TRUE(g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_FORMAT));
    const size_t where = text.find("expected");
    EXPECT_LT(text.find(found), where) << text;
    EXPECT_NE(text.find(expected, where), std::string::npos) << text;
    EXPECT_EQ(h.push(1, 1), GST_FLOW_NOT_NEGOTIATED);
    EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR)) << "said once";
  }
}

TEST_F(Caps, ThatAreOnlyAskedForAreLogged) {
  for (const auto& [text, found, expected] : kRefused) {
    Harness h({{"model", "m"}});
    const LoggedWarnings log("tomeclassify");
    const Ptr<GstCaps> caps(gst_caps_from_string(text));
    EXPECT_FALSE(gst_pad_query_accept_caps(h.sink(), caps.get()));
    const size_t where = log.text().find("expected");
    EXPECT_LT(log.text().find(found), where) << log.text();
    EXPECT_NE(log.text().find(expected, where), std::string::npos) << log.text();
    EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR)) << "somebody tries elements out";
    EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
    h.set_caps();
    EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
  }
}

TEST_F(Caps, ThatAreNotTakenDownstreamAreNotOurs) {
  Harness h({{"model", "m"}});
  gst_harness_set_sink_caps_str(h.get(), "video/x-raw,format=RGB,width=16,height=8");
  const LoggedWarnings log("tomeclassify");
  const Ptr<GstCaps> caps(gst_caps_from_string(kGrayCaps));
  EXPECT_FALSE(gst_pad_query_accept_caps(h.sink(), caps.get()));
  EXPECT_NE(log.text().find("GRAY8"), std::string::npos) << log.text();
  EXPECT_NE(log.text().find("downstream"), std::string::npos) << log.text();
  h.set_caps();
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
}

/// Features of what `pad` takes, in its order.
std::vector<std::string> features(GstPad* pad) {
  const Ptr<GstCaps> taken(gst_pad_query_caps(pad, nullptr));
  std::vector<std::string> all;
  for (guint i = 0; i < gst_caps_get_size(taken.get()); ++i) {
    const Ptr<char> text(gst_caps_features_to_string(gst_caps_get_features(taken.get(), i)));
    all.emplace_back(text.get());
  }
  return all;
}

TEST_F(Caps, WithOverlaysComeFirst) {
  LoneElement e({{"model", "m"}});
  const std::string system = "memory:SystemMemory", cuda = "memory:CUDAMemory";
  const auto marked = [](const std::string& memory) { return memory + ", " + kOverlay; };
  for (const char* name : {"sink", "src"}) {
    const Ptr<GstPad> pad(gst_element_get_static_pad(e.element(), name));
    EXPECT_EQ(features(pad.get()),
              (std::vector<std::string>{marked(cuda), marked(system), cuda, system}));
  }
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  for (const char* name : {"sink", "src"}) {
    const Ptr<GstPad> pad(gst_element_get_static_pad(e.element(), name));
    EXPECT_EQ(features(pad.get()), (std::vector<std::string>{marked(system), system}))
        << "on the CPU";
  }
}

GstBuffer* gray_frame() {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 320 * 240, nullptr);
  gst_buffer_memset(buffer, 0, 100, 320 * 240);
  GST_BUFFER_PTS(buffer) = 0;
  gst_buffer_add_video_region_of_interest_meta(buffer, "cat", 50, 60, 100, 80);
  return buffer;
}

/// What comes out of `h` for a gray frame, behind which a sink composes.
Ptr<GstBuffer> composed_by_the_sink(GstHarness* h) {
  gst_harness_add_propose_allocation_meta(h, GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE, nullptr);
  gst_harness_set_src_caps_str(h, "video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1");
  EXPECT_EQ(gst_harness_push(h, gray_frame()), GST_FLOW_OK);
  return Ptr<GstBuffer>(gst_harness_pull(h));
}

TEST_F(Caps, OverlaysPassAndAreNotClassified) {
  if (!has_element("tomeoverlay")) GTEST_SKIP() << "no element tomeoverlay (Pango)";
  for (const char* sink : {"ANY",
                           "video/x-raw(memory:SystemMemory, "
                           "meta:GstVideoOverlayComposition); video/x-raw"}) {
    // The box around the region begins with the very pixel that the core looks at.
    GstHarness* h = gst_harness_new_parse(
        "tomeclassify model=m inference-region=roi-list ! tomeoverlay top-k=0 ! "
        "tomeclassify model=m inference-region=roi-list");
    gst_harness_set_sink_caps_str(h, sink);
    const auto out = composed_by_the_sink(h);
    gst_harness_teardown(h);
    EXPECT_NE(gst_buffer_get_video_overlay_composition_meta(out.get()), nullptr) << sink;
    const auto results = gst::results_of(out.get());
    ASSERT_EQ(results.size(), 2U);
    for (const auto& result : results) EXPECT_EQ(result.tags.at(0).id, 100) << sink;
  }
}

/// The handler of overlaycomposition's signal "draw": a white square over the region's corner.
GstVideoOverlayComposition* draw_square(GstElement*, GstSample*, gpointer) {
  GstBuffer* pixels = gst_buffer_new_allocate(nullptr, 32 * 32 * 4, nullptr);
  gst_buffer_memset(pixels, 0, 255, 32 * 32 * 4);
  gst_buffer_add_video_meta(pixels, GST_VIDEO_FRAME_FLAG_NONE,
                            GST_VIDEO_OVERLAY_COMPOSITION_FORMAT_RGB, 32, 32);
  GstVideoOverlayRectangle* square = gst_video_overlay_rectangle_new_raw(
      pixels, 40, 50, 32, 32, GST_VIDEO_OVERLAY_FORMAT_FLAG_NONE);
  gst_buffer_unref(pixels);
  GstVideoOverlayComposition* all = gst_video_overlay_composition_new(square);
  gst_video_overlay_rectangle_unref(square);
  return all;
}

TEST_F(Caps, NorAreThoseOfGStreamersOwnElements) {
  if (!has_element("overlaycomposition")) GTEST_SKIP() << "no element overlaycomposition";
  GstHarness* h = gst_harness_new_parse(
      "overlaycomposition name=other ! tomeclassify model=m inference-region=roi-list");
  const Ptr<GstElement> other(gst_bin_get_by_name(GST_BIN(h->element), "other"));
  g_signal_connect(other.get(), "draw", G_CALLBACK(draw_square), nullptr);
  const auto out = composed_by_the_sink(h);
  gst_harness_teardown(h);
  EXPECT_NE(gst_buffer_get_video_overlay_composition_meta(out.get()), nullptr);
  EXPECT_EQ(value_on(out.get()), 100);
}

}  // namespace
}  // namespace tome::testing
