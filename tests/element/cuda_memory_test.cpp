// Frames in CUDA memory, in GStreamer's own CUDA library over a stand-in for the driver: what the
// core gets, and that nothing is copied.
#include "driver/fake_driver.h"
#include "element_fixture.h"

#define GST_USE_UNSTABLE_API
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudaloader.h>
#include <gst/cuda/gstcudamemory.h>
#include <gst/cuda/gstcudautils.h>
#if GST_CHECK_VERSION(1, 24, 0)
#include <gst/cuda/gstcudastream.h>
#else
struct GstCudaStream;
#endif

namespace tome::testing {
namespace {

using gst::Release;

struct ReleaseObject {
  void operator()(gpointer object) const { gst_object_unref(object); }
};
using CudaContextPtr = std::unique_ptr<GstCudaContext, ReleaseObject>;

constexpr const char* kNv12 =
    "video/x-raw(memory:CUDAMemory),format=NV12,width=300,height=10,framerate=10/1";

GstMemory* allocate(GstCudaContext* context, GstCudaStream* stream, const GstVideoInfo& info) {
  const Ptr<GstAllocator> allocator(gst_allocator_find(GST_CUDA_MEMORY_TYPE_NAME));
  auto* cuda = reinterpret_cast<GstCudaAllocator*>(allocator.get());
#if GST_CHECK_VERSION(1, 24, 0)
  return gst_cuda_allocator_alloc(cuda, context, stream, &info);
#else
  return gst_cuda_allocator_alloc(cuda, context, &info);
#endif
}

/// Writes into "device" memory, as a producer's kernel would.
void paint(GstMemory* memory, const GstVideoInfo& layout) {
  GstMapInfo map;
  const auto flags = static_cast<GstMapFlags>(GST_MAP_WRITE | GST_MAP_CUDA);
  ASSERT_TRUE(gst_memory_map(memory, &map, flags));
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(&layout); ++i) {
    map.data[layout.offset[i]] = static_cast<uint8_t>(40 + i);
  }
  gst_memory_unmap(memory, &map);
}

class CudaMemory : public ElementTest {
 protected:
  void SetUp() override {
    ElementTest::SetUp();
    fake_driver_reset();
    ASSERT_TRUE(gst_cuda_load_library());
    gst_cuda_memory_init_once();
    core_.set({.device = "cuda:0"});
  }
  void TearDown() override {
    EXPECT_EQ(fake_driver_allocations(), 0);
    ElementTest::TearDown();
  }

  /// The context that `pad` answers a context query with.
  static CudaContextPtr asked(GstPad* pad) {
    const Ptr<GstQuery> query(gst_query_new_context(GST_CUDA_CONTEXT_TYPE));
    if (gst_pad_query(pad, query.get()) == FALSE) return nullptr;
    GstContext* context = nullptr;
    gst_query_parse_context(query.get(), &context);
    GstCudaContext* cuda = nullptr;
    gst_structure_get(gst_context_get_structure(context), GST_CUDA_CONTEXT_TYPE,
                      GST_TYPE_CUDA_CONTEXT, &cuda, nullptr);
    return CudaContextPtr(cuda);
  }

  static GstVideoInfo info_of(const char* caps) {
    GstVideoInfo info;
    const Ptr<GstCaps> parsed(gst_caps_from_string(caps));
    EXPECT_TRUE(gst_video_info_from_caps(&info, parsed.get()));
    return info;
  }

  /// A painted frame, with the GstVideoMeta that GStreamer's CUDA pool would give it.
  static GstBuffer* cuda_frame(const char* caps, GstCudaContext* context, bool with_meta = true,
                               GstCudaStream* stream = nullptr) {
    const GstVideoInfo info = info_of(caps);
    GstMemory* memory = allocate(context, stream, info);
    GstVideoInfo& layout = reinterpret_cast<GstCudaMemory*>(memory)->info;
    paint(memory, layout);
    GstBuffer* buffer = gst_buffer_new();
    gst_buffer_append_memory(buffer, memory);
    if (with_meta) {
      gst_buffer_add_video_meta_full(
          buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(&layout), layout.width,
          layout.height, GST_VIDEO_INFO_N_PLANES(&layout), layout.offset, layout.stride);
    }
    GST_BUFFER_PTS(buffer) = 0;
    return buffer;
  }

  static uint8_t* device_pointer(GstBuffer* buffer) {
    GstMapInfo map;
    GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    const auto flags = static_cast<GstMapFlags>(GST_MAP_READ | GST_MAP_CUDA);
    EXPECT_TRUE(gst_memory_map(memory, &map, flags));
    gst_memory_unmap(memory, &map);
    return map.data;
  }
};

TEST_F(CudaMemory, ContextIsThePrimaryOneOfTheDeviceOnBothPads) {
  core_.set({.device = "cuda:1"});
  Harness h({{"model", "m"}});
  for (GstPad* pad : {h.sink(), h.src()}) {
    const auto context = asked(pad);
    ASSERT_NE(context, nullptr);
    guint device = 0;
    g_object_get(context.get(), "cuda-device-id", &device, nullptr);
    EXPECT_EQ(device, 1U);
    EXPECT_EQ(gst_cuda_context_get_handle(context.get()), fake_driver_primary(1));
  }
}

TEST_F(CudaMemory, ContextIsTheSameObjectForEveryElementAndToldToTheBin) {
  Harness first({{"model", "m"}});
  Harness second({{"model", "m"}});
  EXPECT_EQ(asked(first.src()).get(), asked(second.src()).get());
  const auto message = first.message(GST_MESSAGE_HAVE_CONTEXT);
  ASSERT_NE(message, nullptr);
  GstContext* told = nullptr;
  gst_message_parse_have_context(message.get(), &told);
  const Ptr<GstContext> owned(told);
  EXPECT_STREQ(gst_context_get_context_type(told), GST_CUDA_CONTEXT_TYPE);
}

TEST_F(CudaMemory, AnApplicationsContextIsSharedIfItIsThePrimaryOne) {
  const CudaContextPtr wrapped(
      gst_cuda_context_new_wrapped(static_cast<CUcontext>(fake_driver_primary(0)), 0));
  const CudaContextPtr foreign(gst_cuda_context_new(0));
  const Ptr<GstContext> primary(gst_context_new_cuda_context(wrapped.get()));
  const Ptr<GstContext> other(gst_context_new_cuda_context(foreign.get()));
  LoneElement e({{"model", "m"}});
  const Ptr<GstPad> pad(gst_element_get_static_pad(e.element(), "src"));
  gst_element_set_context(e.element(), primary.get());
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  EXPECT_EQ(asked(pad.get()).get(), wrapped.get());
  ASSERT_TRUE(e.set_state(GST_STATE_NULL));
  gst_element_set_context(e.element(), other.get());
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  EXPECT_EQ(gst_cuda_context_get_handle(asked(pad.get()).get()), fake_driver_primary(0));
}

TEST_F(CudaMemory, IsRefusedForADeviceThatIsNotThere) {
  core_.set({.device = "cuda:7"});
  Harness h({{"model", "m"}});
  EXPECT_EQ(asked(h.src()), nullptr);
  h.set_caps(kNv12);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  EXPECT_NE(h.error_text().find("cuda:7"), std::string::npos);
}

TEST_F(CudaMemory, APrimaryContextThatIsNotToBeHadIsSaid) {
  // A context that was retained before stays usable, so this needs a device of its own.
  core_.set({.device = "cuda:2"});
  fake_driver_fail_retain(2);
  Harness h({{"model", "m"}});
  h.set_caps(kNv12);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  const std::string text = h.error_text();
  EXPECT_NE(text.find("primary context of cuda:2"), std::string::npos) << text;
  EXPECT_NE(text.find("CUDA error 2"), std::string::npos) << text;
}

struct FormatCase {
  const char* name;
  TomePixelFormat format;
};

class CudaFormats : public CudaMemory, public ::testing::WithParamInterface<FormatCase> {};

TEST_P(CudaFormats, ReachTheCoreAsDevicePointersAndPassUntouched) {
  const std::string caps = std::string("video/x-raw(memory:CUDAMemory),framerate=10/1,width=300,") +
                           "height=10,format=" + GetParam().name;
  for (const bool with_meta : {true, false}) {
    Harness h({{"model", "m"}});
    h.set_caps(caps.c_str());
    GstBuffer* buffer = cuda_frame(caps.c_str(), asked(h.sink()).get(), with_meta);
    const GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
    const GstVideoInfo layout = reinterpret_cast<const GstCudaMemory*>(memory)->info;
    const uint8_t* device = device_pointer(buffer);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto out = h.pull();
    EXPECT_EQ(value_on(out.get()), 40);
    EXPECT_EQ(out.get(), buffer);
    EXPECT_EQ(gst_buffer_peek_memory(out.get(), 0), memory);
    EXPECT_TRUE(gst_buffer_is_writable(out.get())) << "nobody holds it";
    const SeenFrame seen = core_.frames().back();
    EXPECT_EQ(seen.format, GetParam().format);
    EXPECT_EQ(seen.memory, TOME_MEMORY_CUDA);
    EXPECT_EQ(seen.device, 0);
    EXPECT_EQ(seen.producer_stream, nullptr);
    ASSERT_EQ(seen.planes.size(), GST_VIDEO_INFO_N_PLANES(&layout));
    for (size_t i = 0; i < seen.planes.size(); ++i) {
      EXPECT_EQ(seen.planes[i], device + layout.offset[i]) << i;
      EXPECT_EQ(seen.strides[i], layout.stride[i]) << i;
      EXPECT_EQ(seen.strides[i] % 256, 0) << "as the allocator pads it";
      EXPECT_EQ(seen.plane_sizes[i], layout.size - layout.offset[i]) << i;
      EXPECT_EQ(seen.corners[i], 40 + i);
    }
  }
  EXPECT_EQ(fake_driver_downloads(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaFormats,
    ::testing::Values(FormatCase{"NV12", TOME_FORMAT_NV12}, FormatCase{"RGBA", TOME_FORMAT_RGBA},
                      FormatCase{"BGRA", TOME_FORMAT_BGRA}, FormatCase{"RGBx", TOME_FORMAT_RGBX},
                      FormatCase{"BGRx", TOME_FORMAT_BGRX}, FormatCase{"RGB", TOME_FORMAT_RGB},
                      FormatCase{"BGR", TOME_FORMAT_BGR}, FormatCase{"I420", TOME_FORMAT_I420},
                      FormatCase{"P010_10LE", TOME_FORMAT_P010},
                      FormatCase{"YUY2", TOME_FORMAT_YUY2}, FormatCase{"UYVY", TOME_FORMAT_UYVY}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(CudaMemory, ACropNarrowsTheDevicePointers) {
  Harness h({{"model", "m"}});
  h.set_caps("video/x-raw(memory:CUDAMemory),format=NV12,width=100,height=4,framerate=10/1");
  GstBuffer* buffer = cuda_frame(kNv12, asked(h.sink()).get());
  const GstVideoInfo layout =
      reinterpret_cast<const GstCudaMemory*>(gst_buffer_peek_memory(buffer, 0))->info;
  const uint8_t* device = device_pointer(buffer);
  GstVideoCropMeta* crop = gst_buffer_add_video_crop_meta(buffer);
  crop->x = 200;
  crop->y = 6;
  crop->width = 100;
  crop->height = 4;
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  h.pull();
  const SeenFrame seen = core_.frames().back();
  EXPECT_EQ(seen.memory, TOME_MEMORY_CUDA);
  EXPECT_EQ(seen.width, 100);
  EXPECT_EQ(seen.height, 4);
  ASSERT_EQ(seen.planes.size(), 2U);
  EXPECT_EQ(seen.planes[0], device + layout.offset[0] + 6 * layout.stride[0] + 200);
  EXPECT_EQ(seen.planes[1], device + layout.offset[1] + 3 * layout.stride[1] + 200);
  EXPECT_EQ(seen.plane_sizes[1], layout.size - static_cast<size_t>(seen.planes[1] - device));
}

TEST_F(CudaMemory, OfAnotherContextGoesThroughTheHostWithOneWarning) {
  const CudaContextPtr foreign(gst_cuda_context_new(0));
  Harness h({{"model", "m"}});
  h.set_caps(kNv12);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(h.push(cuda_frame(kNv12, foreign.get())), GST_FLOW_OK);
    EXPECT_EQ(value_on(h.pull().get()), 40);
    EXPECT_EQ(core_.frames().back().memory, TOME_MEMORY_HOST);
  }
  EXPECT_EQ(fake_driver_downloads(), 2);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(text.find("primary"), std::string::npos) << text;
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING)) << "said once";
}

TEST_F(CudaMemory, OfAnotherDeviceCannotBeReadAndNamesBoth) {
  const CudaContextPtr second(gst_cuda_context_new(1));
  Harness h({{"model", "m"}});
  h.set_caps(kNv12);
  EXPECT_EQ(h.push(cuda_frame(kNv12, second.get())), GST_FLOW_OK);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(text.find("cuda:0"), std::string::npos) << text;
  EXPECT_NE(text.find("cuda:1"), std::string::npos) << text;
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(CudaMemory, SystemMemoryUnderCudaCapsCannotBeRead) {
  Harness h({{"model", "m"}});
  h.set_caps(kNv12);
  EXPECT_EQ(h.push(gst_buffer_new_allocate(nullptr, 300 * 10 * 3 / 2, nullptr)), GST_FLOW_OK);
  EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING).find("memory:CUDAMemory"),
            std::string::npos);
  EXPECT_EQ(h.push(gst_buffer_new()), GST_FLOW_OK) << "no memory at all";
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(CudaMemory, ThatHoldsAnotherPictureThanTheCapsSayCannotBeRead) {
  constexpr const char* kSmall =
      "video/x-raw(memory:CUDAMemory),format=NV12,width=64,height=8,framerate=10/1";
  for (const bool with_meta : {true, false}) {
    Harness h({{"model", "m"}});
    h.set_caps(kNv12);
    GstBuffer* small = cuda_frame(kSmall, asked(h.sink()).get(), with_meta);
    EXPECT_EQ(h.push(small), GST_FLOW_OK);
    const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
    EXPECT_NE(text.find("64x8"), std::string::npos) << text;
    EXPECT_NE(text.find("300x10"), std::string::npos) << text;
  }
}

TEST_F(CudaMemory, UnderSystemCapsIsReadLikeAnyOther) {
  Harness h({{"model", "m"}});
  constexpr const char* kSystem = "video/x-raw,format=NV12,width=300,height=10,framerate=10/1";
  h.set_caps(kSystem);
  ASSERT_EQ(h.push(cuda_frame(kSystem, asked(h.sink()).get())), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 40);
  EXPECT_EQ(core_.frames().at(0).memory, TOME_MEMORY_HOST);
}

#if GST_CHECK_VERSION(1, 24, 0)
TEST_F(CudaMemory, WorkThatMayNotHaveEndedComesWithItsStream) {
  Harness h({{"model", "m"}});
  h.set_caps(kNv12);
  const auto context = asked(h.sink());
  GstCudaStream* stream = gst_cuda_stream_new(context.get());
  GstBuffer* buffer = cuda_frame(kNv12, context.get(), true, stream);
  GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
  ASSERT_TRUE(GST_MEMORY_FLAG_IS_SET(memory, GST_CUDA_MEMORY_TRANSFER_NEED_SYNC));
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  auto out = h.pull();
  EXPECT_EQ(core_.frames().back().producer_stream, gst_cuda_stream_get_handle(stream));
  EXPECT_EQ(fake_driver_waits(), 0) << "the host does not wait for it";

  out.reset();  // freeing waits
  buffer = cuda_frame(kNv12, context.get(), true, stream);
  gst_cuda_memory_sync(reinterpret_cast<GstCudaMemory*>(gst_buffer_peek_memory(buffer, 0)));
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  h.pull();
  EXPECT_EQ(core_.frames().back().producer_stream, nullptr) << "it has ended";
  gst_cuda_stream_unref(stream);
}
#endif

}  // namespace
}  // namespace tome::testing
