// tomeoverlay draws inside the frame's memory, whatever a GstVideoMeta says of it.
#include <algorithm>
#include <set>

#include "overlay_fixture.h"

namespace tome::testing {
namespace {

constexpr int kSide = 64, kRow = 3 * kSide;
constexpr gsize kBytes = kSide * kRow;
constexpr const char* kRgbCaps = "video/x-raw,format=RGB,width=64,height=64,framerate=10/1";
constexpr guint8 kGray = 100;

class OverlayMemory : public ElementTest {
 protected:
  void SetUp() override {
    ElementTest::SetUp();
    gst::register_classification_meta();  // frames are made before the element is
  }
};

/// A harness whose downstream leaves the drawing to the element.
class Blender : public Harness {
 public:
  explicit Blender(const std::string& caps) : Harness({}, "tomeoverlay") {
    gst_harness_set_sink_caps_str(get(), "video/x-raw");
    set_caps(caps.c_str());
  }
};

GstBuffer* gray_bytes(gsize size) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, size, nullptr);
  gst_buffer_memset(buffer, 0, kGray, size);
  gst::attach_results(buffer, kOne);
  return buffer;
}

/// A frame of `size` bytes whose meta says that its rows are `stride` bytes apart from `offset` on.
GstBuffer* rgb_frame(gsize size, gsize offset, gint stride, guint side = kSide) {
  GstBuffer* buffer = gray_bytes(size);
  gsize offsets[GST_VIDEO_MAX_PLANES] = {offset};
  gint strides[GST_VIDEO_MAX_PLANES] = {stride};
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_RGB, side,
                                 side, 1, offsets, strides);
  return buffer;
}

std::vector<guint8> bytes_of(GstBuffer* buffer) {
  std::vector<guint8> bytes(gst_buffer_get_size(buffer));
  gst_buffer_extract(buffer, 0, bytes.data(), bytes.size());
  return bytes;
}

/// What a frame whose meta lies leads to: the error's text, "" if there is none.
std::string problem_with(GstBuffer* buffer) {
  Blender h(kRgbCaps);
  EXPECT_EQ(h.push(buffer), GST_FLOW_ERROR);
  return h.error_text();
}

TEST_F(OverlayMemory, AStrideThatLeavesItIsAnError) {
  for (const gint stride : {1 << 20, -(1 << 20), kRow + 1, -kRow, G_MAXINT, G_MININT}) {
    const std::string text = problem_with(rgb_frame(kBytes, 0, stride));
    EXPECT_NE(text.find(std::to_string(stride)), std::string::npos) << text;
    EXPECT_NE(text.find("64 rows of 192 bytes"), std::string::npos) << text;
  }
}

TEST_F(OverlayMemory, APlaneThatBeginsTooLateIsAnError) {
  for (const gsize offset : {kBytes - 1, gsize{1}}) {
    const std::string text = problem_with(rgb_frame(kBytes, offset, kRow));
    EXPECT_NE(text.find(std::to_string(kBytes - offset)), std::string::npos) << text;
  }
}

/// Nothing of a picture of so many pixels a side is there but, perhaps, the first row.
GstBuffer* cropped_frame(guint side, guint at, guint crop_side) {
  GstBuffer* buffer = rgb_frame(kBytes, 0, static_cast<gint>(3 * side), side);
  GstVideoCropMeta* crop = gst_buffer_add_video_crop_meta(buffer);
  crop->x = crop->y = at;
  crop->width = crop->height = crop_side;
  return buffer;
}

TEST_F(OverlayMemory, ACropOfAPictureThatIsNotThereIsAnError) {
  for (const guint at : {0U, 50000U}) {
    EXPECT_NE(problem_with(cropped_frame(100000, at, kSide)), "") << at;
  }
}

TEST_F(OverlayMemory, ACropLargerThanTheCapsIsAnErrorBeforeThereIsMemoryForItsText) {
  for (const guint side : {65U, 1000000U, 700000000U}) {
    const std::string text = problem_with(cropped_frame(side, 0, side));
    EXPECT_NE(text.find("at most 64x64"), std::string::npos) << text;
    Harness composed({}, "tomeoverlay");
    gst_harness_add_propose_allocation_meta(composed.get(),
                                            GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE, nullptr);
    composed.set_caps(kRgbCaps);
    EXPECT_EQ(composed.push(cropped_frame(side, 0, side)), GST_FLOW_ERROR);
  }
}

TEST_F(OverlayMemory, APlaneThatGoesOnInAnotherMemoryIsAnError) {
  GstBuffer* buffer = rgb_frame(kBytes / 2, 0, kRow);
  gst_buffer_append_memory(buffer, gst_allocator_alloc(nullptr, kBytes / 2, nullptr));
  EXPECT_NE(problem_with(buffer), "") << "only the first is mapped";
}

TEST_F(OverlayMemory, RowsFurtherApartAreDrawnOn) {
  constexpr int kStride = 1000, kOffset = 77;
  // The last row ends with the buffer.
  constexpr gsize kSize = kOffset + (kSide - 1) * kStride + kRow;
  Blender h(kRgbCaps);
  ASSERT_EQ(h.push(rgb_frame(kSize, kOffset, kStride)), GST_FLOW_OK);
  const auto bytes = bytes_of(h.pull().get());
  std::set<int> rows, columns;
  for (int i = 0; i < static_cast<int>(kSize); ++i) {
    if (bytes[i] == kGray) continue;
    rows.insert((i - kOffset) / kStride);
    columns.insert((i - kOffset) % kStride);
  }
  ASSERT_FALSE(rows.empty());
  EXPECT_LT(*rows.rbegin(), kSide / 2) << "the text is at the top";
  EXPECT_LT(*columns.rbegin(), kRow);
}

TEST_F(OverlayMemory, RowsOfWidePixelsMayBeAnyBytesApart) {
  constexpr int kWide = 4 * kSide;
  Blender h("video/x-raw,format=RGBx,width=64,height=64,framerate=10/1");
  const auto rows_drawn = [&](gint stride) {
    GstBuffer* buffer = gray_bytes(static_cast<gsize>(kSide * stride));
    gsize offsets[GST_VIDEO_MAX_PLANES] = {0};
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_RGBx, kSide,
                                   kSide, 1, offsets, &stride);
    EXPECT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto bytes = bytes_of(h.pull().get());
    std::vector<std::vector<guint8>> rows;
    for (auto row = bytes.begin(); row != bytes.end(); row += stride) {
      rows.emplace_back(row, row + kWide);
    }
    return rows;
  };
  EXPECT_EQ(rows_drawn(kWide + 1), rows_drawn(kWide));
}

TEST_F(OverlayMemory, RowsFromTheBottomUpAreDrawnOn) {
  Blender h(kRgbCaps);
  ASSERT_EQ(h.push(rgb_frame(kBytes, kBytes - kRow, -kRow)), GST_FLOW_OK);
  const auto bytes = bytes_of(h.pull().get());
  const auto drawn =
      std::find_if(bytes.begin(), bytes.end(), [](guint8 byte) { return byte != kGray; });
  ASSERT_NE(drawn, bytes.end());
  EXPECT_GE(drawn - bytes.begin(), kSide / 2 * kRow) << "the picture's top";
}

/// A format that GStreamer can blend, and a frame of it that is odd both ways.
class OverlayLayouts : public OverlayMemory, public ::testing::WithParamInterface<GstVideoFormat> {
 protected:
  OverlayLayouts() { gst_video_info_set_format(&info_, GetParam(), 53, 37); }

  std::string caps() const {
    const Ptr<GstCaps> caps(gst_video_info_to_caps(&info_));
    const Ptr<char> text(gst_caps_to_string(caps.get()));
    return text.get();
  }

  /// With a meta that says what GStreamer itself would, but for the planes' offsets and strides.
  /// @param from  bytes of its memory before it
  GstBuffer* frame(gsize from = 0) {
    GstBuffer* buffer = gray_bytes(info_.size + from);
    gst_buffer_resize(buffer, static_cast<gssize>(from), -1);
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GetParam(), 53, 37,
                                   info_.finfo->n_planes, info_.offset, info_.stride);
    return buffer;
  }

  GstVideoInfo info_;
};

TEST_P(OverlayLayouts, AreDrawnOnAsTheyAre) {
  Blender h(caps());
  ASSERT_EQ(h.push(frame()), GST_FLOW_OK);
  const auto bytes = bytes_of(h.pull().get());
  EXPECT_TRUE(std::any_of(bytes.begin(), bytes.end(), [](guint8 byte) { return byte != kGray; }));
}

// GStreamer writes several pixels at once, and expects them where their size says.
TEST_P(OverlayLayouts, AreDrawnOnAtAnyAddress) {
  Blender h(caps());
  ASSERT_EQ(h.push(frame()), GST_FLOW_OK);
  const auto expected = bytes_of(h.pull().get());
  for (const gsize from : {1, 2}) {
    ASSERT_EQ(h.push(frame(from)), GST_FLOW_OK);
    EXPECT_EQ(bytes_of(h.pull().get()), expected) << from;
  }
}

TEST_P(OverlayLayouts, NoPlaneMayLeaveTheMemory) {
  const GstVideoInfo honest = info_;
  for (guint plane = 0; plane < honest.finfo->n_planes; ++plane) {
    info_ = honest;
    info_.offset[plane] = honest.size - 1;
    Blender h(caps());
    EXPECT_EQ(h.push(frame()), GST_FLOW_ERROR) << "plane " << plane;
  }
}

/// All that GStreamer knows, some in tiles, some with pixels that are no whole bytes.
std::vector<GstVideoFormat> all_formats() {
  guint count = 0;
  const GstVideoFormat* formats = gst_video_formats_raw(&count);
  return {formats, formats + count};
}

INSTANTIATE_TEST_SUITE_P(OfGStreamer, OverlayLayouts, ::testing::ValuesIn(all_formats()),
                         [](const auto& info) {
                           return std::string(gst_video_format_to_string(info.param));
                         });

}  // namespace
}  // namespace tome::testing
