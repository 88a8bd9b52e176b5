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

  std::string play(const std::string& line) {
    return testing::play(line, [&](GstBuffer* buffer) { values_.push_back(value_on(buffer)); });
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
