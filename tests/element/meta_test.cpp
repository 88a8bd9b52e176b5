// The metadata, the pixels that pass untouched, and what the core sees of a frame.
#include <algorithm>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Meta = ElementTest;

TEST_F(Meta, HoldsEveryFieldWithTypesThatBindingsKnow) {
  core_.set({.tokens_in = 197, .tokens_out = 41});
  Harness h({{"model", "m"}, {"name", "colour"}});
  h.set_caps();
  ASSERT_EQ(h.push(51, 3), GST_FLOW_OK);
  const auto buffer = h.pull();
  // As a C reader would, with nothing of ours but the name.
  GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer.get(), "GstTomeClassification");
  ASSERT_NE(meta, nullptr);
  const GValue* results = gst_structure_get_value(gst_custom_meta_get_structure(meta), "results");
  ASSERT_NE(results, nullptr);
  ASSERT_EQ(gst_value_array_get_size(results), 1U);
  const GstStructure* one = gst_value_get_structure(gst_value_array_get_value(results, 0));
  EXPECT_STREQ(gst_structure_get_string(one, "model"), "fake");
  EXPECT_STREQ(gst_structure_get_string(one, "element"), "colour");
  guint64 start = 0;
  guint64 end = 0;
  EXPECT_TRUE(gst_structure_get_uint64(one, "clip-start-pts", &start));
  EXPECT_TRUE(gst_structure_get_uint64(one, "clip-end-pts", &end));
  EXPECT_EQ(start, 3 * kFrame);
  EXPECT_EQ(end, 3 * kFrame);
  guint frames = 0;
  guint age = 7;
  guint in = 0;
  guint out = 0;
  EXPECT_TRUE(gst_structure_get(one, "n-frames", G_TYPE_UINT, &frames, "age", G_TYPE_UINT, &age,
                                "tokens-in", G_TYPE_UINT, &in, "tokens-out", G_TYPE_UINT, &out,
                                nullptr));
  EXPECT_EQ(frames, 1U);
  EXPECT_EQ(age, 0U);
  EXPECT_EQ(in, 197U);
  EXPECT_EQ(out, 41U);
  const GValue* ids = gst_structure_get_value(one, "label-ids");
  const GValue* labels = gst_structure_get_value(one, "labels");
  const GValue* scores = gst_structure_get_value(one, "scores");
  ASSERT_EQ(gst_value_array_get_size(ids), 1U);
  EXPECT_EQ(g_value_get_int(gst_value_array_get_value(ids, 0)), 51);
  EXPECT_STREQ(g_value_get_string(gst_value_array_get_value(labels, 0)), "value-51");
  EXPECT_FLOAT_EQ(g_value_get_double(gst_value_array_get_value(scores, 0)), 51.0F / 255.0F);
  EXPECT_EQ(gst_value_array_get_size(gst_structure_get_value(one, "region")), 0U) << "full frame";
  gint width = 0;
  gint height = 0;
  EXPECT_TRUE(gst_structure_get(one, "frame-width", G_TYPE_INT, &width, "frame-height", G_TYPE_INT,
                                &height, nullptr));
  EXPECT_EQ(width, 16);
  EXPECT_EQ(height, 8);
  EXPECT_FALSE(gst_structure_has_field(one, "region-type"));
  EXPECT_FALSE(gst_structure_has_field(one, "region-id"));
  EXPECT_EQ(gst_meta_api_type_get_tags(meta->meta.info->api), nullptr) << "untagged";
}

TEST_F(Meta, OfAnOlderProducerIsReadWithoutWhatItLacks) {
  Classification full;
  full.region = {1, 2, 3, 4};
  full.frame_size = {16, 8};
  full.object = {"person", 5};
  full.element = "colour";
  const auto structure = gst::to_structure(full);
  Classification read = gst::from_structure(structure.get());
  EXPECT_EQ(read.frame_size, full.frame_size);
  EXPECT_EQ(read.object, full.object);
  EXPECT_EQ(read.element, "colour");
  gst_structure_remove_fields(structure.get(), "frame-width", "region-type", "region-id", "element",
                              nullptr);
  read = gst::from_structure(structure.get());
  EXPECT_EQ(read.region, full.region);
  EXPECT_FALSE(read.frame_size);
  EXPECT_FALSE(read.object);
  EXPECT_EQ(read.element, "");
}

TEST_F(Meta, ASecondElementAppends) {
  Harness first({{"model", "m"}, {"name", "colour"}});
  first.set_caps();
  ASSERT_EQ(first.push(10, 0), GST_FLOW_OK);
  Harness second({{"model", "m"}, {"name", "make"}});
  second.set_caps();
  ASSERT_EQ(second.push(first.pull().release()), GST_FLOW_OK);
  const auto results = gst::results_of(second.pull().get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].element, "colour") << "of one model, and yet not the same";
  EXPECT_EQ(results[1].element, "make");
}

TEST_F(Meta, PixelsPassWithoutACopyAndNobodyHoldsThem) {
  Harness h({{"model", "m"}});
  h.set_caps();
  GstBuffer* pushed = Harness::frame(1, 0);
  const GstMemory* memory = gst_buffer_peek_memory(pushed, 0);
  ASSERT_EQ(h.push(pushed), GST_FLOW_OK);
  auto pulled = h.pull();
  EXPECT_EQ(pulled.get(), pushed) << "a buffer that is ours alone is not even copied shallowly";
  EXPECT_EQ(gst_buffer_peek_memory(pulled.get(), 0), memory);
  EXPECT_TRUE(gst_buffer_is_writable(pulled.get())) << "no reference is left behind";
  // A shared one is copied shallowly: the other owner's buffer gets no meta.
  const Ptr<GstBuffer> shared(Harness::frame(2, 1));
  const GstMemory* shared_memory = gst_buffer_peek_memory(shared.get(), 0);
  ASSERT_EQ(h.push(gst_buffer_ref(shared.get())), GST_FLOW_OK);
  pulled = h.pull();
  EXPECT_EQ(gst_buffer_peek_memory(pulled.get(), 0), shared_memory);
  EXPECT_EQ(value_on(pulled.get()), 2);
  EXPECT_EQ(value_on(shared.get()), -1);
}

TEST_F(Meta, SurvivesConverterAndScaler) {
  std::vector<int64_t> seen;
  EXPECT_EQ(play("videotestsrc num-buffers=2 pattern=white ! "
                 "video/x-raw,format=I420,width=64,height=48 ! tomeclassify model=m ! "
                 "videoconvert ! videoscale ! video/x-raw,format=RGB,width=32,height=32",
                 [&](GstBuffer* buffer) { seen.push_back(value_on(buffer)); }),
            "");
  EXPECT_EQ(seen, std::vector<int64_t>(2, 235)) << "white in limited range";
}

struct FormatCase {
  const char* name;
  TomePixelFormat format;
  unsigned planes;
};

class MetaFormats : public ElementTest, public ::testing::WithParamInterface<FormatCase> {};

TEST_P(MetaFormats, ReachTheCoreWithTheirPlanes) {
  const FormatCase c = GetParam();
  Harness h({{"model", "m"}});
  const std::string caps =
      std::string("video/x-raw,framerate=10/1,width=15,height=9,format=") + c.name;
  h.set_caps(caps.c_str());
  GstVideoInfo info;
  const Ptr<GstCaps> parsed(gst_caps_from_string(caps.c_str()));
  ASSERT_TRUE(gst_video_info_from_caps(&info, parsed.get()));
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, GST_VIDEO_INFO_SIZE(&info), nullptr);
  gst_buffer_memset(buffer, 0, 0, GST_VIDEO_INFO_SIZE(&info));
  for (unsigned i = 0; i < c.planes; ++i) {
    gst_buffer_memset(buffer, GST_VIDEO_INFO_PLANE_OFFSET(&info, i), static_cast<uint8_t>(40 + i),
                      1);
  }
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 40);
  const SeenFrame seen = core_.frames().at(0);
  EXPECT_EQ(seen.format, c.format);
  EXPECT_EQ(seen.width, 15);
  EXPECT_EQ(seen.height, 9);
  ASSERT_EQ(seen.strides.size(), c.planes);
  for (unsigned i = 0; i < c.planes; ++i) {
    EXPECT_EQ(seen.corners[i], 40 + i);
    EXPECT_EQ(seen.strides[i], GST_VIDEO_INFO_PLANE_STRIDE(&info, i));
    EXPECT_EQ(seen.plane_sizes[i],
              GST_VIDEO_INFO_SIZE(&info) - GST_VIDEO_INFO_PLANE_OFFSET(&info, i));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, MetaFormats,
    ::testing::Values(
        FormatCase{"RGB", TOME_FORMAT_RGB, 1}, FormatCase{"BGR", TOME_FORMAT_BGR, 1},
        FormatCase{"RGBx", TOME_FORMAT_RGBX, 1}, FormatCase{"BGRx", TOME_FORMAT_BGRX, 1},
        FormatCase{"RGBA", TOME_FORMAT_RGBA, 1}, FormatCase{"BGRA", TOME_FORMAT_BGRA, 1},
        FormatCase{"GRAY8", TOME_FORMAT_GRAY8, 1}, FormatCase{"NV12", TOME_FORMAT_NV12, 2},
        FormatCase{"I420", TOME_FORMAT_I420, 3}, FormatCase{"YUY2", TOME_FORMAT_YUY2, 1},
        FormatCase{"UYVY", TOME_FORMAT_UYVY, 1}, FormatCase{"P010_10LE", TOME_FORMAT_P010, 2}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(Meta, StridesAndOffsetsComeFromTheVideoMeta) {
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw,format=NV12,width=16,height=8,framerate=10/1");
  constexpr gsize kSize = 100 + 32 * 8 + 50 + 32 * 4;
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, kSize, nullptr);
  gst_buffer_memset(buffer, 0, 0, kSize);
  gsize offsets[4] = {100, 100 + 32 * 8 + 50, 0, 0};
  gint strides[4] = {32, 32, 0, 0};
  gst_buffer_memset(buffer, offsets[0], 77, 1);
  gst_buffer_memset(buffer, offsets[1], 78, 1);
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_NV12, 16, 8, 2,
                                 offsets, strides);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 77);
  const SeenFrame seen = core_.frames().at(0);
  EXPECT_EQ(seen.strides, (std::vector<int64_t>{32, 32}));
  EXPECT_EQ(seen.corners, (std::vector<uint8_t>{77, 78}));
  EXPECT_EQ(seen.plane_sizes, (std::vector<uint64_t>{kSize - 100, 32 * 4}));
}

TEST_F(Meta, PlanesMayLieInMemoriesThatFollowEachOther) {
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw,format=NV12,width=16,height=8,framerate=10/1");
  GstMemory* whole = gst_allocator_alloc(nullptr, 16 * 8 + 16 * 4, nullptr);
  GstMapInfo map;
  ASSERT_TRUE(gst_memory_map(whole, &map, GST_MAP_WRITE));
  std::fill_n(map.data, 16 * 8, uint8_t{77});
  std::fill_n(map.data + 16 * 8, 16 * 4, uint8_t{78});
  gst_memory_unmap(whole, &map);
  GstBuffer* buffer = gst_buffer_new();
  gst_buffer_append_memory(buffer, gst_memory_share(whole, 0, 16 * 8));
  gst_buffer_append_memory(buffer, gst_memory_share(whole, 16 * 8, 16 * 4));
  gst_memory_unref(whole);
  gst_buffer_add_video_meta(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_NV12, 16, 8);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 77);
  const SeenFrame seen = core_.frames().at(0);
  EXPECT_EQ(seen.corners, (std::vector<uint8_t>{77, 78}));
  EXPECT_EQ(seen.plane_sizes, (std::vector<uint64_t>{16 * 8, 16 * 4}));
}

TEST_F(Meta, ColorimetryComesFromTheCaps) {
  const std::vector<std::tuple<const char*, TomeColorMatrix, TomeColorRange>> cases = {
      {"bt601", TOME_MATRIX_BT601, TOME_RANGE_LIMITED},
      {"bt709", TOME_MATRIX_BT709, TOME_RANGE_LIMITED},
      {"bt2020", TOME_MATRIX_BT2020, TOME_RANGE_LIMITED},
      {"1:4:7:1", TOME_MATRIX_BT601, TOME_RANGE_FULL},
      {"1:3:7:1", TOME_MATRIX_BT709, TOME_RANGE_FULL}};
  for (const auto& [colorimetry, matrix, range] : cases) {
    Harness h({{"model", "m"}});
    h.set_caps(
        (std::string("video/x-raw,format=I420,width=16,height=8,framerate=10/1,colorimetry=") +
         colorimetry)
            .c_str());
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 16 * 8 * 3 / 2, nullptr);
    gst_buffer_memset(buffer, 0, 16, 16 * 8 * 3 / 2);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    h.pull();
    EXPECT_EQ(core_.frames().back().matrix, matrix) << colorimetry;
    EXPECT_EQ(core_.frames().back().range, range) << colorimetry;
  }
}

TEST_F(Meta, ColorimetryThatIsNotSaidFollowsTheRows) {
  for (const char* colorimetry : {"", ",colorimetry=0:0:0:0", ",colorimetry=2:0:0:0"}) {
    for (const auto& [rows, matrix] :
         {std::pair(576, TOME_MATRIX_BT601), std::pair(578, TOME_MATRIX_BT709)}) {
      Harness h({{"model", "m"}});
      h.set_caps(("video/x-raw,format=I420,width=16,framerate=10/1,height=" + std::to_string(rows) +
                  colorimetry)
                     .c_str());
      const auto bytes = static_cast<gsize>(16 * rows * 3 / 2);
      GstBuffer* buffer = gst_buffer_new_allocate(nullptr, bytes, nullptr);
      gst_buffer_memset(buffer, 0, 16, bytes);
      ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
      h.pull();
      EXPECT_EQ(core_.frames().back().matrix, matrix) << colorimetry << rows;
      EXPECT_EQ(core_.frames().back().range, TOME_RANGE_LIMITED) << colorimetry << rows;
    }
  }
}

TEST_F(Meta, GreyIsFullUnlessTheCapsSayLimited) {
  const std::vector<std::pair<const char*, TomeColorRange>> cases = {
      {"", TOME_RANGE_FULL},
      {",colorimetry=1:4:0:0", TOME_RANGE_FULL},
      {",colorimetry=0:0:0:0", TOME_RANGE_FULL},
      {",colorimetry=bt601", TOME_RANGE_LIMITED},
      {",colorimetry=2:0:0:0", TOME_RANGE_LIMITED}};
  Harness h({{"model", "m"}});
  for (const auto& [colorimetry, range] : cases) {
    h.set_caps((std::string(kGrayCaps) + colorimetry).c_str());
    ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
    h.pull();
    EXPECT_EQ(core_.frames().back().range, range) << colorimetry;
  }
}

TEST_F(Meta, PixelsAreAsWideAsTheCapsSay) {
  Harness h({{"model", "m"}});
  for (const auto& [caps, n, d] :
       std::vector<std::tuple<const char*, int, int>>{{"", 1, 1},
                                                      {",pixel-aspect-ratio=16/11", 16, 11},
                                                      {",pixel-aspect-ratio=4/3", 4, 3},
                                                      {",pixel-aspect-ratio=1/1", 1, 1}}) {
    h.set_caps((std::string(kGrayCaps) + caps).c_str());
    ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
    h.pull();
    EXPECT_EQ(core_.frames().back().pixel_aspect_n, n) << caps;
    EXPECT_EQ(core_.frames().back().pixel_aspect_d, d) << caps;
    EXPECT_EQ(core_.frames().back().width, 16) << "as stored";
  }
}

TEST_F(Meta, OfHighDynamicRangeTheLogSaysOnceThatItIsReadAsAnyOther) {
  static int warnings;
  warnings = 0;
  const GstLogFunction count = [](GstDebugCategory*, GstDebugLevel level, const gchar*,
                                  const gchar*, gint, GObject*, GstDebugMessage* message,
                                  gpointer) {
    const std::string text = gst_debug_message_get(message);
    if (level == GST_LEVEL_WARNING && text.find("(PQ)") != std::string::npos) ++warnings;
  };
  gst_debug_add_log_function(count, nullptr, nullptr);
  gst_debug_set_threshold_for_name("default", GST_LEVEL_WARNING);
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw,format=P010_10LE,width=16,height=8,framerate=10/1,colorimetry=bt2100-pq");
  for (int i = 0; i < 3; ++i) {
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 16 * 8 * 3, nullptr);
    gst_buffer_memset(buffer, 0, 16, 16 * 8 * 3);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    h.pull();
  }
  gst_debug_unset_threshold_for_name("default");
  gst_debug_remove_log_function(count);
  EXPECT_EQ(warnings, 1);
}

TEST_F(Meta, TimestampsMayBeMissing) {
  Harness h({{"model", "m"}});
  h.set_caps();
  GstBuffer* buffer = Harness::frame(1, 0);
  GST_BUFFER_PTS(buffer) = GST_BUFFER_DURATION(buffer) = GST_CLOCK_TIME_NONE;
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].clip_start, GST_CLOCK_TIME_NONE);
  EXPECT_EQ(core_.frames().at(0).pts, -1);
}

TEST_F(Meta, FreshResultsAreElementMessagesOnRequest) {
  Harness h({{"model", "m"}, {"post-messages", "true"}, {"inference-interval", "2"}});
  h.set_caps();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(h.push(static_cast<uint8_t>(i), i), GST_FLOW_OK);
  for (int i = 0; i < 4; ++i) h.pull();
  for (const int value : {0, 2}) {
    const auto message = h.message(GST_MESSAGE_ELEMENT);
    ASSERT_NE(message, nullptr);
    const auto results = gst::results_of(gst_message_get_structure(message.get()));
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].tags[0].id, value);
  }
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ELEMENT));
}

TEST_F(Meta, MessagesSayWhenTheirFrameIsDue) {
  core_.set({.late_after_first = true});
  Harness h({{"model", "m"}, {"post-messages", "true"}, {"late-policy", "skip"}});
  h.set_caps();
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  segment.start = 10 * GST_SECOND;
  h.push_event(gst_event_new_segment(&segment));
  constexpr int kEleventhSecond = 110;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(h.push(1, kEleventhSecond + i), GST_FLOW_OK);
    const auto buffer = h.pull();
    const GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer.get(), gst::kClassificationName);
    ASSERT_NE(meta, nullptr);
    EXPECT_FALSE(gst_structure_has_field(
        gst_custom_meta_get_structure(const_cast<GstCustomMeta*>(meta)), "stream-time"))
        << "a buffer is on its own segment";
  }
  constexpr auto kBoth = static_cast<GstMessageType>(GST_MESSAGE_ELEMENT | GST_MESSAGE_QOS);
  const auto result = h.message(kBoth);
  ASSERT_NE(result, nullptr);
  const GstStructure* posted = gst_message_get_structure(result.get());
  guint64 running = 0, stream = 0;
  EXPECT_TRUE(gst_structure_get_uint64(posted, "running-time", &running));
  EXPECT_TRUE(gst_structure_get_uint64(posted, "stream-time", &stream));
  EXPECT_EQ(running, GST_SECOND);
  EXPECT_EQ(stream, GST_SECOND);
  const auto skip = h.message(kBoth);
  ASSERT_NE(skip, nullptr);
  ASSERT_EQ(GST_MESSAGE_TYPE(skip.get()), GST_MESSAGE_QOS);
  gst_message_parse_qos(skip.get(), nullptr, &running, &stream, nullptr, nullptr);
  EXPECT_EQ(running, GST_SECOND + kFrame);
  EXPECT_EQ(stream, GST_SECOND + kFrame);
}

}  // namespace
}  // namespace tome::testing
