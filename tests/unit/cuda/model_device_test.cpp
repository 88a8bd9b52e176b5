// Numbers on a real device (suite gpu): pre-processing against the CPU's, the reference's records,
// and a real model. Skipped, with the reason, where there is none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "cuda/device_fixtures.h"
#include "cuda/device_tensors.h"
#include "cuda/reference_merges.h"
#include "cuda/stream.h"
#include "engine/cuda_pixels.h"
#include "fixtures.h"
#include "shared_data.h"

namespace tome::testing {
namespace {

/// Every filter, and pictures that are enlarged, reduced and padded.
TEST(SessionOnDevice, PatchesAreTheCpus) {
  TOME_NEEDS_DEVICE();
  const c10::InferenceMode inference;
  const Model model(small());
  for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
    for (const int32_t resize_short : {64, 71, 150, 248}) {
      CudaSessionSetup setup;
      setup.config = model.config;
      setup.preprocess = spec_of(model.config);
      setup.preprocess.interpolation = interpolation;
      setup.preprocess.resize_short = resize_short;
      setup.model = model.on_device;
      AtenSession cpu(std::make_shared<const VisionTransformer>(model.config, model.weights),
                      setup.preprocess);
      CudaSession session(std::move(setup));
      int i = 0;
      for (const Frame& frame : pictures(9)) {
        const at::Tensor expected = cpu.preprocess_one(frame)->rows.to(at::kBFloat16);
        const at::Tensor got = at::empty_like(expected);
        const PatchesPtr there = session.preprocess_one(frame);
        const cuda::OwnedStream stream;
        cuda::copy_to_host(got.mutable_data_ptr(), static_cast<const DevicePatches&>(*there).data,
                           got.nbytes(), stream.get());
        cuda::synchronise(stream.get());
        const at::Tensor wrong = (got.to(at::kFloat) - expected.to(at::kFloat)).abs();
        EXPECT_TRUE(at::equal(got, expected))
            << "picture " << i << ", resize " << resize_short << ", filter "
            << static_cast<int>(interpolation) << ": " << wrong.gt(0).sum().item<int64_t>()
            << " of " << wrong.numel() << " differ, by up to " << wrong.max().item<float>();
        ++i;
      }
    }
  }
}

/// The reference's recorded numbers on the device. Its heads of 16 channels have no kernel of
/// ours, so this is LibTorch's way, in float32; our kernels are in the test after it.
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

/// Matching and merge of ours, which have float32, beside the reference's records.
TEST(KernelParityOnDevice, MergesOfTheReference) {
  TOME_NEEDS_DEVICE();
  TOME_NEEDS_SHARED_DATA("parity/matching.safetensors");
  const auto merges = reference_merges();
  EXPECT_GE(merges.size(), 10U);
  for (const ReferenceMerge& expected : merges) {
    SCOPED_TRACE(expected.name);
    const DeviceMatching matching = match_on_device(expected.metric, expected.options);
    ASSERT_EQ(matching.plan.matching.tokens_out, expected.x_out.size(1));
    for (int64_t sample = 0; sample < expected.metric.size(0); ++sample) {
      expect_members_match(matching.plan, sample);
    }
    const DeviceMerge got = merge_on_device({expected.x, expected.size}, matching);
    EXPECT_TRUE(at::allclose(got.x, expected.x_out, 1e-5, 1e-5))
        << (got.x - expected.x_out).abs().max();
    EXPECT_TRUE(at::equal(got.size, expected.size_out));
  }
}

/// Requests whose best class is the same.
int same_classes(const BatchOutput& a, const BatchOutput& b) {
  const auto best = [](const BatchOutput& output, std::ptrdiff_t request) {
    const auto begin = output.logits.begin() + request * output.classes;
    return std::max_element(begin, begin + output.classes) - begin;
  };
  int same = 0;
  for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(a.tokens_out.size()); ++i) {
    same += best(a, i) == best(b, i) ? 1 : 0;
  }
  return same;
}

/// Given by TOME_GPU_MODEL, or among the shared data, or the one that the project ships.
std::filesystem::path real_model() {
  if (const char* given = std::getenv("TOME_GPU_MODEL")) return given;
  const std::filesystem::path theirs = shared_data() / "models/vit_tiny_patch16_224";
  return std::filesystem::exists(theirs) ? theirs : fixtures() / "../../models/camera-state";
}

/// A real model, merged and not, beside float32: as near to it as the CPU's bf16, in logits and in
/// best classes.
TEST(ModelOnDevice, IsAsNearToFloat32AsTheCpu) {
  TOME_NEEDS_DEVICE();
  const std::filesystem::path path = real_model();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no model: " << path;
  const Checkpoint checkpoint = load_checkpoint(path.string());
  ASSERT_EQ(why_not_fused(checkpoint.config, ElementType::kBfloat16), "");
  CudaSessionSetup setup;
  setup.config = checkpoint.config;
  setup.preprocess = checkpoint.preprocess;
  setup.model = upload_model(checkpoint.config, checkpoint.weights, ElementType::kBfloat16, 0);
  CudaSession session(std::move(setup));
  const auto on_cpu = [&](at::ScalarType type) {
    return AtenSession(std::make_shared<const VisionTransformer>(
                           checkpoint.config, checkpoint.weights, at::kCPU, type),
                       checkpoint.preprocess);
  };
  AtenSession exact = on_cpu(at::kFloat), rounded = on_cpu(at::kBFloat16);
  constexpr int64_t kRequests = 24;
  const int64_t frames = checkpoint.config.frames;
  for (const int64_t r : {0, 8}) {
    const std::vector<int64_t> schedule(static_cast<size_t>(checkpoint.config.depth), r);
    const auto shown = pictures(kRequests * frames);
    const BatchOutput expected = run(exact, shown, frames, schedule);
    const BatchOutput got = run(session, shown, frames, schedule);
    const BatchOutput other = run(rounded, shown, frames, schedule);
    EXPECT_LE(distance(got, expected), 1.5 * distance(other, expected) + 0.005) << "r=" << r;
    EXPECT_GE(same_classes(got, expected), same_classes(other, expected) - 1) << "r=" << r;
    std::printf("r=%d: distance %.4f of the device, %.4f of the CPU; %d and %d of %d classes\n",
                static_cast<int>(r), distance(got, expected), distance(other, expected),
                same_classes(got, expected), same_classes(other, expected),
                static_cast<int>(kRequests));
  }
}

}  // namespace
}  // namespace tome::testing
