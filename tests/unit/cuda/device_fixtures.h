// What tests of the session on a real device share: models, pictures, runs, distances.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "cuda/needs_device.h"
#include "cuda/stream.h"
#include "engine/aten_session.h"
#include "engine/cuda_session.h"
#include "engine/device.h"
#include "vit/vit_fixtures.h"

namespace tome::testing {

using cuda::ElementType;

/// Before the first random number, see device.cpp.
[[maybe_unused]] inline const bool libtorch_was_asked = why_no_libtorch_cuda().empty();

inline ViTConfig small() { return small_config(64, 128, 3); }

inline PreprocessSpec spec_of(const ViTConfig& config) {
  PreprocessSpec spec;
  spec.width = static_cast<int32_t>(config.image_width);
  spec.height = static_cast<int32_t>(config.image_height);
  spec.resize_short = spec.width;
  return spec;
}

/// A frame with its own pixels: soft blobs, so that neighbours are alike and matches are clear.
inline Frame picture(PixelFormat format, int width, int height, int seed) {
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

inline std::vector<Frame> pictures(int64_t n) {
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
  ElementType type;
  int device;
  std::shared_ptr<const CudaModel> on_device;

  explicit Model(const ViTConfig& shape, ElementType element_type = ElementType::kBfloat16,
                 int device_index = 0)
      : config(shape), type(element_type), device(device_index) {
    at::manual_seed(11);
    weights = random_weights(config, 0.05);
    on_device = upload_model(config, weights, type, device);
  }

  std::unique_ptr<CudaSession> session() const {
    CudaSessionSetup setup;
    setup.config = config;
    setup.preprocess = spec_of(config);
    setup.type = type;
    setup.device = device;
    setup.model = on_device;
    setup.aten = [this] {
      const at::Device there(at::kCUDA, static_cast<at::DeviceIndex>(device));
      return std::make_shared<const VisionTransformer>(config, weights, there, scalar_type(type));
    };
    const cuda::CurrentDevice current(device);
    return std::make_unique<CudaSession>(std::move(setup));
  }

  std::unique_ptr<AtenSession> on_cpu(at::ScalarType type = at::kBFloat16) const {
    return std::make_unique<AtenSession>(
        std::make_shared<const VisionTransformer>(config, weights, at::kCPU, type),
        spec_of(config));
  }
};

/// A folder with the small model, for open_model.
inline void save_small_model(const std::filesystem::path& folder) {
  at::manual_seed(12);
  Checkpoint checkpoint;
  checkpoint.config = small();
  checkpoint.weights = random_weights(checkpoint.config, 0.05);
  checkpoint.preprocess = spec_of(checkpoint.config);
  checkpoint.labels = {"ant", "bee", "cow", "dog", "eel", "fox", "gnu"};
  save_checkpoint(checkpoint, folder);
}

inline BatchOutput run(DeviceSession& session, const std::vector<Frame>& frames,
                       int64_t per_request, const std::vector<int64_t>& r,
                       PropAttn prop_attn = PropAttn::kAuto) {
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

inline void expect_near(const BatchOutput& got, const BatchOutput& expected,
                        double tolerance = 2e-2) {
  ASSERT_EQ(got.logits.size(), expected.logits.size());
  EXPECT_EQ(got.tokens_out, expected.tokens_out);
  for (size_t i = 0; i < got.logits.size(); ++i) {
    EXPECT_NEAR(got.logits[i], expected.logits[i], tolerance + tolerance * std::abs(got.logits[i]))
        << i;
  }
}

/// |got - expected| / |expected|
inline double distance(const BatchOutput& got, const BatchOutput& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    difference += std::pow(got.logits[i] - expected.logits[i], 2);
    size += std::pow(expected.logits[i], 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace tome::testing
