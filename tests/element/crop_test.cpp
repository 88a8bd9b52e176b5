// GstVideoCropMeta: what was cropped away without a copy is not looked at.
#include "element_fixture.h"

namespace tome::testing {
namespace {

using Crop = ElementTest;

constexpr int kLargeWidth = 32, kLargeHeight = 16;

struct Place {
  guint x, y, width, height;
};

void add_crop(GstBuffer* buffer, const Place& place) {
  GstVideoCropMeta* crop = gst_buffer_add_video_crop_meta(buffer);
  crop->x = place.x;
  crop->y = place.y;
  crop->width = place.width;
  crop->height = place.height;
}

/// A 32x16 picture of zeros, of which `place` is to be seen.
GstBuffer* cropped(const GstVideoInfo& large, const Place& place) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, large.size, nullptr);
  gst_buffer_memset(buffer, 0, 0, large.size);
  gst_buffer_add_video_meta(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(&large),
                            kLargeWidth, kLargeHeight);
  add_crop(buffer, place);
  GST_BUFFER_PTS(buffer) = 0;
  return buffer;
}

GstVideoInfo large_picture(const char* format) {
  GstVideoInfo info;
  gst_video_info_set_format(&info, gst_video_format_from_string(format), kLargeWidth, kLargeHeight);
  return info;
}

/// GRAY8 whose pixel at (x, y) is 32 (y % 8) + x, which tells pixels of eight rows apart.
GstBuffer* numbered(const Place& place) {
  GstBuffer* buffer = cropped(large_picture("GRAY8"), place);
  for (guint i = 0; i < kLargeWidth * kLargeHeight; ++i) {
    gst_buffer_memset(buffer, i, static_cast<guint8>(i % 256), 1);
  }
  return buffer;
}

/// Where the planes of the picture at (9, 5) begin: bytes across, rows down.
struct CropCase {
  const char* name;
  std::vector<gsize> across, down;
};

class CropFormats : public ElementTest, public ::testing::WithParamInterface<CropCase> {};

TEST_P(CropFormats, ReachTheCoreWithoutWhatWasCroppedAway) {
  const CropCase& c = GetParam();
  Harness h({{"model", "m"}});
  h.set_caps(
      (std::string("video/x-raw,framerate=10/1,width=15,height=9,format=") + c.name).c_str());
  const GstVideoInfo large = large_picture(c.name);
  GstBuffer* buffer = cropped(large, {9, 5, 15, 9});
  std::vector<uint64_t> left;
  for (size_t i = 0; i < c.across.size(); ++i) {
    const gsize at =
        large.offset[i] + c.down[i] * static_cast<gsize>(large.stride[i]) + c.across[i];
    gst_buffer_memset(buffer, at, static_cast<guint8>(40 + i), 1);
    left.push_back(large.size - at);
  }
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  EXPECT_EQ(value_on(out.get()), 40);
  EXPECT_EQ(out.get(), buffer) << "passes as it came";
  const SeenFrame seen = core_.frames().at(0);
  EXPECT_EQ(seen.width, 15);
  EXPECT_EQ(seen.height, 9);
  EXPECT_EQ(seen.plane_sizes, left);
  ASSERT_EQ(seen.corners.size(), c.across.size());
  for (size_t i = 0; i < seen.corners.size(); ++i) {
    EXPECT_EQ(seen.corners[i], 40 + i);
    EXPECT_EQ(seen.strides[i], large.stride[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, CropFormats,
    ::testing::Values(CropCase{"RGB", {27}, {5}}, CropCase{"BGR", {27}, {5}},
                      CropCase{"RGBx", {36}, {5}}, CropCase{"BGRx", {36}, {5}},
                      CropCase{"RGBA", {36}, {5}}, CropCase{"BGRA", {36}, {5}},
                      CropCase{"GRAY8", {9}, {5}},
                      // From the chroma sample on of which the pixel is the second.
                      CropCase{"NV12", {8, 8}, {4, 2}}, CropCase{"I420", {8, 4, 4}, {4, 2, 2}},
                      CropCase{"YUY2", {16}, {5}}, CropCase{"UYVY", {16}, {5}},
                      CropCase{"P010_10LE", {16, 16}, {4, 2}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(Crop, RegionsCountFromTheCroppedPicture) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}});
  h.set_caps();
  GstBuffer* buffer = numbered({8, 1, 16, 6});
  gst_buffer_add_video_region_of_interest_meta(buffer, "x", 3, 2, 4, 4);
  gst_buffer_add_video_region_of_interest_meta(buffer, "x", 10, 4, 30, 30);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].tags[0].id, 32 * (1 + 2) + 8 + 3);
  EXPECT_EQ(results[1].region, (std::array<int, 4>{10, 4, 6, 2})) << "ends with the picture";
  EXPECT_EQ(results[0].frame_size, (std::array<int, 2>{16, 6})) << "what is left of it";
}

TEST_F(Crop, WithoutAVideoMetaLiesInThePictureOfTheCaps) {
  Harness h({{"model", "m"}});
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_crop(buffer, {3, 2, 4, 4});
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 16 * 2 + 3);
  EXPECT_EQ(core_.frames().at(0).width, 4);
}

TEST_F(Crop, OutsideThePictureCannotBeReadAndNamesBoth) {
  for (const char* region : {"full-frame", "roi-list"}) {
    for (const Place& place : {Place{30, 0, 16, 8}, Place{0, G_MAXUINT - 2, 16, 8},
                               Place{0, 0, G_MAXUINT, G_MAXUINT}, Place{0, 0, 0, 8}}) {
      Harness h({{"model", "m"}, {"inference-region", region}});
      h.set_caps();
      EXPECT_EQ(h.push(cropped(large_picture("GRAY8"), place)), GST_FLOW_OK);
      EXPECT_TRUE(core_.frames().empty());
      const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
      EXPECT_NE(text.find(std::to_string(place.width) + "x" + std::to_string(place.height)),
                std::string::npos)
          << text;
      EXPECT_NE(text.find("32x16"), std::string::npos) << text;
    }
  }
}

TEST_F(Crop, OfVideocropIsSeenWhetherItCopiesOrNot) {
  const Ptr<GstElement> videocrop(gst_element_factory_make("videocrop", nullptr));
  if (!videocrop) GTEST_SKIP() << "no element videocrop (gstreamer1.0-plugins-good)";
  gst_object_ref_sink(videocrop.get());
  for (const bool offered : {false, true}) {
    GstHarness* h = gst_harness_new_parse("videocrop left=8 top=4 ! tomeclassify model=m");
    if (offered) {
      gst_harness_add_propose_allocation_meta(h, GST_VIDEO_META_API_TYPE, nullptr);
      gst_harness_add_propose_allocation_meta(h, GST_VIDEO_CROP_META_API_TYPE, nullptr);
    }
    gst_harness_set_src_caps_str(h, "video/x-raw,format=GRAY8,width=32,height=16,framerate=10/1");
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, kLargeWidth * kLargeHeight, nullptr);
    gst_buffer_memset(buffer, 0, 10, kLargeWidth * kLargeHeight);
    gst_buffer_memset(buffer, 4 * kLargeWidth + 8, 200, 1);
    GST_BUFFER_PTS(buffer) = 0;
    EXPECT_EQ(gst_harness_push(h, buffer), GST_FLOW_OK);
    const Ptr<GstBuffer> out(gst_harness_pull(h));
    EXPECT_EQ(gst_buffer_get_video_crop_meta(out.get()) != nullptr, offered);
    EXPECT_EQ(value_on(out.get()), 200);
    gst_harness_teardown(h);
  }
}

}  // namespace
}  // namespace tome::testing
