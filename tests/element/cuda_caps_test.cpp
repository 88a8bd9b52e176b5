// Caps with memory:CUDAMemory where frames in CUDA memory cannot be taken: not offered, and refused
// with the reason.
#include <dlfcn.h>

#include "element_fixture.h"
#include "frame_mapper.h"

namespace tome::testing {
namespace {

using CudaCaps = ElementTest;

constexpr const char* kCudaCaps =
    "video/x-raw(memory:CUDAMemory),format=NV12,width=16,height=8,framerate=10/1";

bool takes_cuda_memory(GstPad* pad) {
  const Ptr<GstCaps> wanted(gst_caps_from_string(kCudaCaps));
  const Ptr<GstCaps> offered(gst_pad_query_caps(pad, nullptr));
  return gst_caps_can_intersect(offered.get(), wanted.get()) != FALSE;
}

bool takes_system_memory(GstPad* pad) {
  const Ptr<GstCaps> wanted(gst_caps_from_string(kGrayCaps));
  const Ptr<GstCaps> offered(gst_pad_query_caps(pad, nullptr));
  return gst_caps_can_intersect(offered.get(), wanted.get()) != FALSE;
}

TEST_F(CudaCaps, AreInTheTemplatesAndPossibleUntilTheDeviceIsKnown) {
  LoneElement e({{"model", "m"}});
  const Ptr<GstPad> sink(gst_element_get_static_pad(e.element(), "sink"));
  EXPECT_TRUE(takes_cuda_memory(sink.get()));
  EXPECT_TRUE(takes_system_memory(sink.get()));
}

TEST_F(CudaCaps, AreNotOfferedWhereTheModelRunsOnTheCpu) {
  LoneElement e({{"model", "m"}});
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  for (const char* name : {"sink", "src"}) {
    const Ptr<GstPad> pad(gst_element_get_static_pad(e.element(), name));
    EXPECT_FALSE(takes_cuda_memory(pad.get())) << name;
    EXPECT_TRUE(takes_system_memory(pad.get())) << name;
  }
}

TEST_F(CudaCaps, StayWhereNothingElseIsAskedForSoThatTheReasonIsHeard) {
  LoneElement e({{"model", "m"}});
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  const Ptr<GstPad> pad(gst_element_get_static_pad(e.element(), "sink"));
  const Ptr<GstCaps> filter(gst_caps_from_string(kCudaCaps));
  const Ptr<GstCaps> offered(gst_pad_query_caps(pad.get(), filter.get()));
  EXPECT_FALSE(gst_caps_is_empty(offered.get()));
}

TEST_F(CudaCaps, AreRefusedWithTheReasonWhereTheModelRunsOnTheCpu) {
  Harness h({{"model", "m"}});
  h.set_caps(kCudaCaps);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  const std::string text = h.error_text();
  EXPECT_NE(text.find("memory:CUDAMemory"), std::string::npos) << text;
  EXPECT_NE(text.find("the cpu"), std::string::npos) << text;
  EXPECT_NE(text.find("cudadownload"), std::string::npos) << text;
  EXPECT_NE(text.find("device=cuda"), std::string::npos) << text;
}

TEST_F(CudaCaps, AreNotOfferedWhereTheCoreHasNoKernelsForThem) {
  core_.set({.device = "cuda:0", .takes_cuda_frames = false});
  Harness h({{"model", "m"}});
  EXPECT_FALSE(takes_cuda_memory(h.sink()));
  EXPECT_TRUE(takes_system_memory(h.sink()));
  h.set_caps(kCudaCaps);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  const std::string text = h.error_text();
  EXPECT_NE(text.find("without CUDA kernels"), std::string::npos) << text;
}

TEST_F(CudaCaps, AreRefusedWithTheReasonWhereThereIsNoDriver) {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) GTEST_SKIP() << "there is a driver";
  core_.set({.device = "cuda:0"});
  Harness h({{"model", "m"}});
  EXPECT_FALSE(takes_cuda_memory(h.sink()));
  h.set_caps(kCudaCaps);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  const std::string text = h.error_text();
  EXPECT_NE(text.find(HAS_GST_CUDA ? "libcuda.so.1" : "gstreamer-cuda-1.0"), std::string::npos)
      << text;
}

TEST_F(CudaCaps, SystemMemoryIsTakenWhereThereIsNoDriver) {
  core_.set({.device = "cuda:0"});
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(7, 0), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 7);
  EXPECT_EQ(core_.frames().at(0).memory, TOME_MEMORY_HOST);
}

TEST_F(CudaCaps, SystemCapsAreStillTakenAfterARefusal) {
  Harness h({{"model", "m"}});
  h.set_caps(kCudaCaps);
  EXPECT_EQ(h.push(1, 0), GST_FLOW_NOT_NEGOTIATED);
  h.set_caps();
  ASSERT_EQ(h.push(3, 1), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 3);
}

}  // namespace
}  // namespace tome::testing
