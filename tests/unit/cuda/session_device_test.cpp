// The session on a real device (suite gpu): forwards against the CPU, graphs, streams, memory,
// frames that lie on the device. Skipped, with the reason, where there is none.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "cuda/device.h"
#include "engine/cuda_session.h"
#include "engine/device.h"
#include "error.h"
#include "shared_data.h"
#include "vit/vit_fixtures.h"

namespace tome::testing {
namespace {

using cuda::ElementType;

#define TOME_NEEDS_DEVICE() \
  if (const std::string why = why_no_cuda_kernels(0); !why.empty()) GTEST_SKIP() << why

ViTConfig small() { return small_config(64, 128, 3); }

PreprocessSpec spec_of(const ViTConfig& config) {
  PreprocessSpec spec;
  spec.width = static_cast<int32_t>(config.image_width);
  spec.height = static_cast<int32_t>(config.image_height);
  spec.resize_short = spec.width;
  return spec;
}

/// A frame with its own pixels: soft blobs, so that neighbours are alike and matches are clear.
Frame picture(PixelFormat format, int width, int height, int seed) {
  const int planes_rows = format == PixelFormat::kNv12 ? height + (height + 1) / 2 : height;
  const int64_t stride = format == PixelFormat::kNv12 ? width : 3 * width;
  auto pixels = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(stride * planes_rows));
  for (size_t i = 0; i < pixels->size(); ++i) {
    const double x = static_cast<double>(i % static_cast<size_t>(stride)) / 40,
                 y = static_cast<double>(i / static_cast<size_t>(stride)) / 17;
    (*pixels)[i] = static_cast<uint8_t>(127 + 60 * std::sin(x + seed) + 60 * std::cos(y * seed));
  }
  Frame frame;
  frame.format = format;
  frame.width = width;
  frame.height = height;
  const auto luma = static_cast<size_t>(stride * height);
  frame.planes[0] = {pixels->data(), stride, luma};
  if (format == PixelFormat::kNv12) {
    frame.planes[1] = {pixels->data() + luma, (width + 1) / 2 * 2, pixels->size() - luma};
  }
  frame.keep_alive = std::move(pixels);
  return frame;
}

std::vector<Frame> pictures(int64_t n) {
  std::vector<Frame> frames;
  for (int i = 0; i < n; ++i) {
    const bool nv12 = i % 2 == 0;
    frames.push_back(picture(nv12 ? PixelFormat::kNv12 : PixelFormat::kRgb, 90 + 6 * i, 80, i + 1));
  }
  return frames;
}

struct Model {
  ViTConfig config;
  ViTWeights weights;
  std::shared_ptr<const CudaModel> on_device;

  explicit Model(const ViTConfig& shape, double scale = 0.05) : config(shape) {
    at::manual_seed(11);
    weights = random_weights(config, scale);
    on_device = upload_model(config, weights, ElementType::kBfloat16, 0);
  }

  std::unique_ptr<CudaSession> session() const {
    CudaSessionSetup setup;
    setup.config = config;
    setup.preprocess = spec_of(config);
    setup.model = on_device;
    setup.aten = [this] {
      return std::make_shared<const VisionTransformer>(config, weights, at::Device(at::kCUDA, 0),
                                                       at::kBFloat16);
    };
    return std::make_unique<CudaSession>(std::move(setup));
  }

  std::unique_ptr<AtenSession> on_cpu() const {
    return std::make_unique<AtenSession>(
        std::make_shared<const VisionTransformer>(config, weights, at::kCPU, at::kBFloat16),
        spec_of(config));
  }
};

BatchOutput run(DeviceSession& session, const std::vector<Frame>& frames, int64_t per_request,
                const std::vector<int64_t>& r, PropAttn prop_attn = PropAttn::kAuto) {
  const c10::InferenceMode inference;
  std::vector<PreprocessJob> jobs;
  for (const Frame& frame : frames) jobs.push_back({&frame, nullptr, nullptr});
  session.preprocess(jobs);
  BatchInput input;
  input.frames_per_request = per_request;
  input.batch = static_cast<int64_t>(frames.size()) / per_request;
  input.r = r;
  input.prop_attn = prop_attn;
  for (const PreprocessJob& job : jobs) {
    if (job.error) std::rethrow_exception(job.error);
    input.frames.push_back(job.patches);
  }
  return session.forward(input);
}

void expect_near(const BatchOutput& got, const BatchOutput& expected, double tolerance = 2e-2) {
  ASSERT_EQ(got.logits.size(), expected.logits.size());
  EXPECT_EQ(got.tokens_out, expected.tokens_out);
  for (size_t i = 0; i < got.logits.size(); ++i) {
    EXPECT_NEAR(got.logits[i], expected.logits[i], tolerance + tolerance * std::abs(got.logits[i]))
        << i;
  }
}

TEST(SessionOnDevice, ForwardsEqualTheCpus) {
  TOME_NEEDS_DEVICE();
  ViTConfig distilled = small();
  distilled.distill_token = distilled.distilled_head = true;
  ViTConfig pooled = small();
  pooled.pooling = Pooling::kMean;
  for (const ViTConfig& config : {small(), distilled, pooled, on_clips(small())}) {
    const Model model(config);
    const auto session = model.session();
    const auto cpu = model.on_cpu();
    for (const std::vector<int64_t>& r :
         {std::vector<int64_t>{}, {5, 7, 3}, {0, 9, 0}, {1000, 1000, 1000}}) {
      const auto frames = pictures(3 * config.frames);
      expect_near(run(*session, frames, config.frames, r), run(*cpu, frames, config.frames, r));
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
  for (const OperationShare& share : time_operations(*session, input)) {
    calls[share.name] = share.calls;
    EXPECT_GT(share.milliseconds, 0) << share.name;
  }
  EXPECT_EQ(calls["products"], 1 + 3 * 4 + 1);
  EXPECT_EQ(calls["matching"], 3);
  EXPECT_EQ(calls["attention"], 3);
}

/// The reference's recorded numbers on the device. Its heads of 16 channels have no kernel of
/// ours, so this is LibTorch's way, in float32.
TEST(ParityOnDevice, LogitsOfTheReference) {
  TOME_NEEDS_DEVICE();
  TOME_NEEDS_SHARED_DATA("parity/vit_tiny.safetensors");
  if (!why_no_libtorch_cuda().empty()) GTEST_SKIP() << why_no_libtorch_cuda();
  const c10::InferenceMode inference;
  const auto folder = shared_data() / "parity";
  const auto file = SafetensorsFile::open(folder / "vit_tiny.safetensors");
  VisionTransformer host = parity_model(file, Pooling::kToken, false);
  const VisionTransformer model(host.config(), host.weights(), at::Device(at::kCUDA, 0));
  std::ifstream json(folder / "vit_tiny.json");
  for (const auto& about : nlohmann::json::parse(json)) {
    ForwardOptions options;
    options.r = about["r_per_layer"].get<std::vector<int64_t>>();
    options.prop_attn = about["prop_attn"].get<bool>() ? PropAttn::kOn : PropAttn::kOff;
    const std::string key = about["key"];
    const at::Tensor got =
        model.forward_pixels(file.tensor("input").to(at::Device(at::kCUDA, 0)), options).logits;
    EXPECT_TRUE(at::allclose(got.cpu(), file.tensor(key + ".logits"), 1e-3, 1e-3)) << key;
  }
}

/// A real model, given by TOME_GPU_MODEL or among the shared data: the device's leading class is
/// the CPU's, merged and not.
TEST(ModelOnDevice, LeadsWithTheCpusClass) {
  TOME_NEEDS_DEVICE();
  const char* given = std::getenv("TOME_GPU_MODEL");
  const std::filesystem::path path =
      given != nullptr ? given : shared_data() / "models/vit_tiny_patch16_224";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no model: " << path;
  const Checkpoint checkpoint = load_checkpoint(path.string());
  ASSERT_EQ(why_not_fused(checkpoint.config, ElementType::kBfloat16), "");
  CudaSessionSetup setup;
  setup.config = checkpoint.config;
  setup.preprocess = checkpoint.preprocess;
  setup.model = upload_model(checkpoint.config, checkpoint.weights, ElementType::kBfloat16, 0);
  CudaSession session(std::move(setup));
  AtenSession cpu(std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights),
                  checkpoint.preprocess);
  const auto classes = static_cast<size_t>(checkpoint.config.classes);
  constexpr int64_t kRequests = 24;
  const int64_t frames = checkpoint.config.frames;
  for (const int64_t r : {0, 8}) {
    const std::vector<int64_t> schedule(static_cast<size_t>(checkpoint.config.depth), r);
    const auto shown = pictures(kRequests * frames);
    const BatchOutput got = run(session, shown, frames, schedule);
    const BatchOutput expected = run(cpu, shown, frames, schedule);
    int64_t agree = 0;
    double difference = 0, size = 0;
    for (int64_t i = 0; i < kRequests; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(static_cast<size_t>(i) * classes);
      const auto end = at + static_cast<std::ptrdiff_t>(classes);
      const auto top = [&](const std::vector<float>& logits) {
        return std::max_element(logits.begin() + at, logits.begin() + end) - logits.begin();
      };
      agree += top(got.logits) == top(expected.logits) ? 1 : 0;
      for (auto k = static_cast<size_t>(at); k < static_cast<size_t>(end); ++k) {
        difference += std::pow(got.logits[k] - expected.logits[k], 2);
        size += std::pow(expected.logits[k], 2);
      }
    }
    // Unmerged, only rounding differs; merged, it may flip a few merges.
    EXPECT_LE(std::sqrt(difference / size), r == 0 ? 0.03 : 0.1) << "r=" << r;
    EXPECT_GE(agree, r == 0 ? kRequests - 1 : kRequests - 3) << "r=" << r;
  }
}

}  // namespace
}  // namespace tome::testing
