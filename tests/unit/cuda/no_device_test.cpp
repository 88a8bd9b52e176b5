// What a machine without a usable GPU is told, and that its CPU works on.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <memory>

#include "checkpoint/checkpoint.h"
#include "cuda/logged.h"
#include "engine/cuda_model.h"
#include "engine/device.h"
#include "engine/open_model.h"
#include "engine/tiny_model.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

#define TOME_NEEDS_NO_DEVICE() \
  if (why_no_cuda_kernels(0).empty()) GTEST_SKIP() << "there is a device"

TEST(NoDevice, AskingForCudaSaysWhatIsMissing) {
  TOME_NEEDS_NO_DEVICE();
  for (const char* asked : {"cuda", "cuda:0", "cuda:7"}) {
    try {
      choose_device(asked);
      FAIL() << "a device that is not there";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_NE(std::string(error.what()).find(std::string("'") + asked + "'"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("CUDA:"), std::string::npos) << error.what();
    }
  }
  for (const char* asked : {"cuda:", "cuda:x", "cuda:-1", "gpu"}) {
    try {
      choose_device(asked);
      FAIL() << "accepted " << asked;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    }
  }
}

TEST(NoDevice, AutoTakesTheCpuAndSaysSo) {
  TOME_NEEDS_NO_DEVICE();
  const Logged logged;
  EXPECT_TRUE(choose_device("auto").is_cpu());
  EXPECT_NE(logged.text().find("device=auto: the CPU (CUDA:"), std::string::npos) << logged.text();
}

TEST(NoDevice, TheCpuWorksInTheSameProcess) {
  TOME_NEEDS_NO_DEVICE();
  const c10::InferenceMode inference;  // as the engine's worker has it
  const TemporaryFolder folder;
  save_checkpoint(tiny_checkpoint(), folder.path());
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "cuda";
  EXPECT_THROW(open_model(config), Error);
  config.device = "auto";
  OpenedModel opened = open_model(config);
  EXPECT_EQ(opened.description.device, "cpu");
  BatchInput input;
  input.batch = 1;
  input.frames.push_back(std::make_shared<const Patches>(Patches{at::randn({16, 3 * 8 * 8})}));
  EXPECT_EQ(opened.session.session->forward(input).logits.size(), 5U);
}

TEST(NoDevice, FramesInGpuMemoryAreRefusedByAModelOnTheCpu) {
  const c10::InferenceMode inference;
  const TemporaryFolder folder;
  save_checkpoint(tiny_checkpoint(), folder.path());
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "cpu";
  OpenedModel opened = open_model(config);
  const std::vector<uint8_t> pixels(3 * 8 * 8);
  Frame frame;
  frame.width = frame.height = 8;
  frame.planes[0] = {pixels.data(), 3 * 8, pixels.size()};
  frame.memory = MemoryKind::kCuda;
  try {
    opened.session.session->preprocess_one(frame);
    FAIL() << "read device memory on the CPU";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
  }
}

}  // namespace
}  // namespace tome::testing
