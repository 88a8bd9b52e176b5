// The session on a real device (suite gpu): forwards against the CPU, graphs, streams, memory,
// frames that lie on the device. Skipped, with the reason, where there is none.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <thread>

#include "cuda/device.h"
#include "cuda/device_fixtures.h"
#include "cuda/stream.h"
#include "engine/open_model.h"
#include "engine/tiny_model.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

/// 16 bits round keys, and so flip merges whose scores are nearly equal: how far a bf16 forward is
/// from the same in float32 is what the CPU's own bf16 shows.
TEST(SessionOnDevice, ForwardsAreAsNearToFloat32AsTheCpus) {
  TOME_NEEDS_DEVICE();
  ViTConfig distilled = small();
  distilled.distill_token = distilled.distilled_head = true;
  ViTConfig pooled = small();
  pooled.pooling = Pooling::kMean;
  for (const ViTConfig& config : {small(), distilled, pooled, on_clips(small())}) {
    const Model model(config);
    const auto session = model.session();
    const auto cpu = model.on_cpu(), exact = model.on_cpu(at::kFloat);
    for (const std::vector<int64_t>& r :
         {std::vector<int64_t>{}, {5, 7, 3}, {0, 9, 0}, {1000, 1000, 1000}}) {
      const auto frames = pictures(3 * config.frames);
      const BatchOutput expected = run(*exact, frames, config.frames, r);
      const BatchOutput got = run(*session, frames, config.frames, r);
      EXPECT_EQ(got.tokens_out, expected.tokens_out);
      const double bound = 2 * distance(run(*cpu, frames, config.frames, r), expected) + 0.005;
      EXPECT_LE(distance(got, expected), bound)
          << config.name << ", r[0] " << (r.empty() ? 0 : r[0]);
    }
  }
}

/// With 10 bits in place of 7, so much nearer, though a merge may still flip.
TEST(SessionOnDevice, Fp16ForwardsAreNearerToFloat32) {
  TOME_NEEDS_DEVICE();
  for (const ViTConfig& config : {small(), on_clips(small())}) {
    const Model model(config, ElementType::kFloat16);
    const auto session = model.session();
    const auto cpu = model.on_cpu(), exact = model.on_cpu(at::kFloat);
    for (const std::vector<int64_t>& r : {std::vector<int64_t>{}, {5, 7, 3}}) {
      const auto frames = pictures(3 * config.frames);
      const BatchOutput expected = run(*exact, frames, config.frames, r);
      const BatchOutput got = run(*session, frames, config.frames, r);
      EXPECT_EQ(got.tokens_out, expected.tokens_out);
      const double bf16 = distance(run(*cpu, frames, config.frames, r), expected);
      EXPECT_LE(distance(got, expected), r.empty() ? bf16 / 2 : bf16 + 0.005)
          << config.name << ", r[0] " << (r.empty() ? 0 : r[0]);
    }
  }
}

TEST(SessionOnDevice, AnImageModelOnAClip) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const auto cpu = model.on_cpu();
  for (const PropAttn prop_attn : {PropAttn::kOn, PropAttn::kOff}) {
    const auto frames = pictures(6);
    expect_near(run(*session, frames, 3, {40, 30, 0}, prop_attn),
                run(*cpu, frames, 3, {40, 30, 0}, prop_attn));
  }
}

TEST(SessionOnDevice, AGraphGivesWhatTheFirstRunGave) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const auto frames = pictures(4);
  const BatchOutput first = run(*session, frames, 1, {8, 8, 8});
  EXPECT_EQ(session->graphs(), 0U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(run(*session, frames, 1, {8, 8, 8}).logits, first.logits) << "run " << i;
  }
  EXPECT_EQ(session->graphs(), 1U);
  // A larger batch moves the memory; the graph is captured anew and right again.
  const BatchOutput larger = run(*session, pictures(9), 1, {8, 8, 8});
  EXPECT_EQ(session->graphs(), 0U);
  EXPECT_EQ(run(*session, frames, 1, {8, 8, 8}).logits, first.logits);
  EXPECT_EQ(run(*session, pictures(9), 1, {8, 8, 8}).logits, larger.logits);
  EXPECT_EQ(session->graphs(), 2U);
}

TEST(SessionOnDevice, WarmUpCapturesAndTunesWithoutChangingResults) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto frames = pictures(5);  // a shape of this test's own: choices are the process's
  const BatchOutput before = run(*model.session(), frames, 1, {6, 6, 6});
  const auto session = model.session();
  std::vector<PreprocessJob> jobs;
  for (const Frame& frame : frames) jobs.push_back({&frame, nullptr, nullptr});
  session->preprocess(jobs);
  BatchInput input;
  input.batch = 5;
  input.r = {6, 6, 6};
  for (const PreprocessJob& job : jobs) input.frames.push_back(job.patches);
  session->warm_up(input);
  EXPECT_EQ(session->graphs(), 1U);
  const BatchOutput after = run(*session, frames, 1, {6, 6, 6});
  EXPECT_EQ(session->graphs(), 1U);
  EXPECT_LE(distance(after, before), 0.02);
  EXPECT_EQ(run(*model.session(), frames, 1, {6, 6, 6}).logits, after.logits)
      << "all sessions take the same algorithms";
}

/// The full batch moves the memory that the graph of one request was captured with.
TEST(SessionOnDevice, OpeningLeavesGraphsOfOneRequestAndOfAFullBatch) {
  TOME_NEEDS_DEVICE();
  const c10::InferenceMode inference;
  const TemporaryFolder folder;
  save_small_model(folder.path());
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "cuda:0";
  config.batch_size = 8;
  const OpenedModel opened = open_model(config);
  auto* session = dynamic_cast<CudaSession*>(opened.session.session.get());
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->graphs(), 2U);
  EXPECT_EQ(opened.description.precision, "bf16");
  opened.session.warm_up({{8, 8, 8}, PropAttn::kAuto, -1});
  EXPECT_GE(session->graphs(), 2U) << "the other schedule's stay, too";
}

/// A thread of an application's lets go of its streams and buffers: it has no context, and gets
/// none.
TEST(SessionOnDevice, WhatIsLetGoElsewhereLeavesNoContext) {
  TOME_NEEDS_DEVICE();
  Model model(small());
  auto session = model.session();
  const auto frames = pictures(2);
  for (int i = 0; i < 2; ++i) run(*session, frames, 1, {8, 8, 8});
  EXPECT_EQ(session->graphs(), 1U);
  PatchesPtr patches = session->preprocess_one(frames[0]), outlives = patches;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  ASSERT_NE(driver, nullptr);
  const auto current = reinterpret_cast<int (*)(void**)>(dlsym(driver, "cuCtxGetCurrent"));
  ASSERT_NE(current, nullptr);
  std::thread([&] {
    const auto expect_none = [&](const char* after) {
      void* context = driver;
      EXPECT_EQ(current(&context), 0);
      EXPECT_EQ(context, nullptr) << after;
    };
    patches.reset();
    session.reset();
    expect_none("a session");
    outlives.reset();
    expect_none("the last patches, and the pool");
    model.on_device.reset();
    expect_none("weights");
  }).join();
}

TEST(SessionOnDevice, GraphsAreBounded) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const auto frames = pictures(1);
  for (int64_t r = 0; r < static_cast<int64_t>(CudaSession::kMostShapes) + 10; ++r) {
    for (int again = 0; again < 2; ++again) run(*session, frames, 1, {r % 32, r / 32, 0});
  }
  EXPECT_EQ(session->graphs(), CudaSession::kMostShapes);
}

TEST(SessionOnDevice, SessionsShareWeightsAndRunBesideEachOther) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto frames = pictures(4);
  const BatchOutput expected = run(*model.session(), frames, 1, {8, 8, 8});
  std::vector<std::thread> threads;
  std::array<bool, 3> equal{};
  for (size_t t = 0; t < equal.size(); ++t) {
    threads.emplace_back([&, t] {
      const auto session = model.session();
      bool all = true;
      for (int i = 0; i < 20; ++i) {
        all = all && run(*session, frames, 1, {8, 8, 8}).logits == expected.logits;
      }
      equal[t] = all;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const bool all : equal) EXPECT_TRUE(all);
}

/// The same frame in the device's memory, written by a stream that has not got there yet.
Frame on_device(const Frame& frame, cuda::Stream producer) {
  struct Kept {
    cuda::DeviceMemory memory;
    cuda::PinnedMemory host;
  };
  const size_t bytes = frame.planes[0].size + frame.planes[1].size;
  auto kept = std::make_shared<Kept>();
  kept->memory = cuda::DeviceMemory(bytes, "test");
  kept->host = cuda::PinnedMemory(bytes, "test");
  std::copy_n(frame.planes[0].data, bytes, kept->host.data());
  for (int i = 0; i < 200; ++i) {  // keeps the stream busy
    cuda::copy_to_device(kept->memory.data(), kept->host.data(), bytes, producer);
  }
  Frame there = frame;
  there.memory = MemoryKind::kCuda;
  there.producer_stream = producer;
  there.planes[0].data = kept->memory.as<uint8_t>();
  there.planes[1].data = kept->memory.as<uint8_t>() + frame.planes[0].size;
  there.keep_alive = std::move(kept);
  return there;
}

TEST(SessionOnDevice, FramesInDeviceMemoryAreReadWhereTheyLie) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const auto frames = pictures(4);
  const BatchOutput expected = run(*session, frames, 1, {8, 8, 8});
  const cuda::OwnedStream producer;
  std::vector<Frame> mixed = frames;  // host and device in one batch
  for (const size_t i : {size_t{0}, size_t{2}}) mixed[i] = on_device(frames[i], producer.get());
  const std::weak_ptr<const void> pixels = mixed[0].keep_alive;
  EXPECT_EQ(run(*session, mixed, 1, {8, 8, 8}).logits, expected.logits);
  mixed.clear();
  EXPECT_TRUE(pixels.expired()) << "pixels are let go when the forward returns";
  Frame alone = on_device(frames[0], producer.get());
  EXPECT_NE(session->preprocess_one(alone), nullptr);
  alone.device = 5;
  try {
    session->preprocess_one(alone);
    FAIL() << "read another device's memory";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("cuda:5"), std::string::npos) << error.what();
  }
}

TEST(SessionOnDevice, PixelsThatNobodyClassifiesAreLetGo) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const cuda::OwnedStream producer;
  Frame frame = on_device(pictures(1)[0], producer.get());
  const std::weak_ptr<const void> pixels = frame.keep_alive;
  PreprocessJob job{&frame, nullptr, nullptr};
  session->preprocess({&job, 1});
  frame.keep_alive.reset();
  EXPECT_FALSE(pixels.expired());
  session->finish_reading();
  EXPECT_TRUE(pixels.expired());
}

TEST(SessionOnDevice, ABadFrameFailsAlone) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  auto frames = pictures(3);
  frames[1].region = {80, 0, 100, 10};
  std::vector<PreprocessJob> jobs;
  for (const Frame& frame : frames) jobs.push_back({&frame, nullptr, nullptr});
  session->preprocess(jobs);
  EXPECT_EQ(jobs[0].error, nullptr);
  EXPECT_NE(jobs[1].error, nullptr);
  EXPECT_NE(jobs[2].patches, nullptr);
}

TEST(SessionOnDevice, OutOfMemoryNamesItsSizesAndTheSessionWorksOn) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  const auto frames = pictures(2);
  const BatchOutput expected = run(*session, frames, 1, {8, 8, 8});
  try {
    const cuda::DeviceMemory memory(size_t{1} << 50, "too much");
    FAIL() << "a petabyte";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    const std::string text = error.what();
    EXPECT_NE(text.find("1125899906842624"), std::string::npos) << text;
    EXPECT_NE(text.find("free"), std::string::npos) << text;
  }
  EXPECT_EQ(run(*session, frames, 1, {8, 8, 8}).logits, expected.logits);
}

TEST(SessionOnDevice, AWrongIndexSaysHowManyThereAre) {
  TOME_NEEDS_DEVICE();
  try {
    choose_device("cuda:99");
    FAIL() << "device 99";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("99"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find(std::to_string(cuda::device_count())),
              std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(choose_device("auto").is_cuda());
}

TEST(SessionOnDevice, StaticPatchesGoLibTorchsWay) {
  TOME_NEEDS_DEVICE();
  if (!why_no_libtorch_cuda().empty()) GTEST_SKIP() << why_no_libtorch_cuda();
  const Model model(on_clips(small()));
  const auto session = model.session();
  const auto frame = pictures(1)[0];
  BatchInput input;
  input.batch = 1;
  input.frames_per_request = 4;
  input.static_threshold = 1;
  for (int i = 0; i < 4; ++i) input.frames.push_back(session->preprocess_one(frame));
  const BatchOutput still = session->forward(input);
  EXPECT_LT(still.tokens_out[0], still.tokens_in);
}

TEST(SessionOnDevice, OperationsAreTimed) {
  TOME_NEEDS_DEVICE();
  const Model model(small());
  const auto session = model.session();
  BatchInput input;
  input.batch = 1;
  input.r = {8, 8, 8};
  input.frames.push_back(session->preprocess_one(pictures(1)[0]));
  std::map<std::string, int> calls;
  for (const OperationTime& share : time_operations(*session, input)) {
    calls[share.name] = share.calls;
    EXPECT_GT(share.milliseconds, 0) << share.name;
  }
  EXPECT_EQ(calls["products"], 1 + 3 * 4 + 1);
  EXPECT_EQ(calls["matching"], 3);
  EXPECT_EQ(calls["attention"], 3);
}

}  // namespace
}  // namespace tome::testing
