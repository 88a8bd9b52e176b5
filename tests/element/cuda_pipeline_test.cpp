// tomeclassify between GStreamer's own CUDA elements, over a stand-in for the driver.
#include "driver/fake_driver.h"
#include "element_fixture.h"

namespace tome::testing {
namespace {

class CudaPipeline : public ElementTest {
 protected:
  void SetUp() override {
    ElementTest::SetUp();
    fake_driver_reset();
    const Ptr<GstElement> upload(gst_element_factory_make("cudaupload", nullptr));
    if (!upload) GTEST_SKIP() << "no cudaupload here (gstreamer1.0-plugins-bad)";
  }
  void TearDown() override {
    EXPECT_EQ(fake_driver_allocations(), 0);
    ElementTest::TearDown();
  }

  /// Plays `line` into a sink to its end; the text of an error, "" at EOS.
  std::string play(const std::string& line) {
    GError* error = nullptr;
    const Ptr<GstElement> pipeline(
        gst_parse_launch((line + " ! fakesink name=sink signal-handoffs=true").c_str(), &error));
    if (error != nullptr) return Ptr<GError>(error)->message;
    const Ptr<GstElement> sink(gst_bin_get_by_name(GST_BIN(pipeline.get()), "sink"));
    g_signal_connect(sink.get(), "handoff",
                     G_CALLBACK(+[](GstElement*, GstBuffer* buffer, GstPad*, gpointer values) {
                       static_cast<std::vector<int64_t>*>(values)->push_back(value_on(buffer));
                     }),
                     &values_);
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    const Ptr<GstBus> bus(gst_element_get_bus(pipeline.get()));
    const Ptr<GstMessage> end(gst_bus_timed_pop_filtered(
        bus.get(), 10 * GST_SECOND,
        static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING)));
    gst_element_set_state(pipeline.get(), GST_STATE_NULL);
    if (!end) return "neither EOS nor an error came";
    if (GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_EOS) return "";
    if (GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_WARNING) {
      gst_message_parse_warning(end.get(), &error, nullptr);
    } else {
      gst_message_parse_error(end.get(), &error, nullptr);
    }
    return Ptr<GError>(error)->message;
  }

  std::vector<int64_t> values_;  // tags of the frames that reached the sink
};

const std::string kSource =
    "videotestsrc num-buffers=5 pattern=white ! video/x-raw,format=NV12,width=300,height=10 ! ";

TEST_F(CudaPipeline, FramesStayInCudaMemoryAndShareTheContext) {
  core_.set({.device = "cuda:0"});
  EXPECT_EQ(play(kSource + "cudaupload ! tomeclassify model=m ! cudadownload ! "
                           "video/x-raw,format=NV12"),
            "");
  EXPECT_EQ(values_, std::vector<int64_t>(5, 235)) << "results survive cudadownload";
  ASSERT_EQ(core_.frames().size(), 5U);
  for (const SeenFrame& seen : core_.frames()) {
    EXPECT_EQ(seen.memory, TOME_MEMORY_CUDA);
    EXPECT_EQ(seen.device, 0);
    EXPECT_EQ(seen.corners[0], 235) << "white in limited range";
  }
}

TEST_F(CudaPipeline, NothingIsDownloadedWithoutCudadownload) {
  core_.set({.device = "cuda:1"});
  EXPECT_EQ(play(kSource + "cudaupload cuda-device-id=1 ! video/x-raw(memory:CUDAMemory) ! "
                           "tomeclassify model=m"),
            "");
  ASSERT_EQ(core_.frames().size(), 5U);
  EXPECT_EQ(core_.frames().back().memory, TOME_MEMORY_CUDA);
  EXPECT_EQ(core_.frames().back().device, 1);
  EXPECT_EQ(fake_driver_downloads(), 0);
}

TEST_F(CudaPipeline, TwoElementsShareTheFrames) {
  core_.set({.device = "cuda:0"});
  EXPECT_EQ(play(kSource + "cudaupload ! tomeclassify model=m ! tomeclassify model=m ! "
                           "video/x-raw(memory:CUDAMemory)"),
            "");
  ASSERT_EQ(core_.frames().size(), 10U);
  for (const SeenFrame& seen : core_.frames()) EXPECT_EQ(seen.memory, TOME_MEMORY_CUDA);
  EXPECT_EQ(fake_driver_downloads(), 0);
}

TEST_F(CudaPipeline, AModelOnTheCpuNegotiatesSystemMemory) {
  EXPECT_EQ(play(kSource + "cudaupload ! cudadownload ! tomeclassify model=m"), "");
  ASSERT_EQ(core_.frames().size(), 5U);
  EXPECT_EQ(core_.frames().back().memory, TOME_MEMORY_HOST);
}

TEST_F(CudaPipeline, AModelOnTheCpuSaysWhyItTakesNoCudaMemory) {
  const std::string text = play(kSource +
                                "cudaupload ! video/x-raw(memory:CUDAMemory) ! "
                                "tomeclassify model=m");
  EXPECT_NE(text.find("the model runs on the cpu"), std::string::npos) << text;
  EXPECT_TRUE(core_.frames().empty());
}

}  // namespace
}  // namespace tome::testing
