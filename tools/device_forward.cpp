#include "device_forward.h"

#include <ATen/ATen.h>

#include <random>

#include "tome_error.h"
#include "vit/fused_weights.h"

namespace tome::cli {
namespace {

Frame noise(uint32_t seed) {
  constexpr int32_t kSide = 224;
  auto pixels = std::make_shared<std::vector<uint8_t>>(size_t{3} * kSide * kSide);
  std::mt19937 random(seed);
  for (uint8_t& value : *pixels) value = static_cast<uint8_t>(random() >> 24);
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = frame.height = kSide;
  frame.planes[0] = {pixels->data(), int64_t{3} * kSide, pixels->size()};
  frame.keep_alive = std::move(pixels);
  return frame;
}

PreprocessSpec spec_of(const ViTConfig& config) {
  PreprocessSpec spec;
  spec.width = static_cast<int32_t>(config.image_width);
  spec.height = static_cast<int32_t>(config.image_height);
  spec.crop_mode = CropMode::kSquash;
  return spec;
}

}  // namespace

std::string why_no_device_forward(const ViTConfig& config, const ForwardOptions& options,
                                  at::Device device, at::ScalarType precision) {
  if (!device.is_cuda()) return "it is not a CUDA device";
  if (precision == at::kChar) return "products in 8 bits are the CPU's";
  if (std::string reason = why_no_cuda_kernels(device.index()); !reason.empty()) return reason;
  const ForwardOptions usual;
  if (options.metric != usual.metric || options.similarity != usual.similarity ||
      options.partition == Partition::kRandom || options.method != usual.method ||
      options.combine != usual.combine || options.static_threshold >= 0) {
    return "other ways to merge than the default go through LibTorch's operators";
  }
  return why_not_fused(config, element_type(precision));
}

DeviceForward::DeviceForward(const Checkpoint& checkpoint, at::Device device,
                             at::ScalarType precision) {
  CudaSessionSetup setup;
  setup.config = checkpoint.config;
  setup.preprocess = spec_of(checkpoint.config);
  setup.device = device.index();
  setup.type = element_type(precision);
  setup.model = upload_model(checkpoint.config, checkpoint.weights, setup.type, setup.device);
  setup.aten = [&checkpoint, device, precision] {
    return std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights, device,
                                                     precision);
  };
  session_ = open_cuda_session(std::move(setup));
}

BatchInput DeviceForward::make_input(int64_t batch, int64_t frames, const ForwardOptions& options) {
  constexpr uint32_t kPictures = 8;
  std::vector<Frame> pictures;
  for (uint32_t seed = 0; seed < kPictures; ++seed) pictures.push_back(noise(seed));
  // All at once, as the engine does, so that they lie together.
  std::vector<PreprocessJob> jobs;
  for (int64_t i = 0; i < batch * frames; ++i) {
    jobs.push_back({&pictures[static_cast<size_t>(i) % kPictures], nullptr, nullptr});
  }
  session_->preprocess(jobs);
  session_->finish_reading();
  BatchInput input;
  input.batch = batch;
  input.frames_per_request = frames;
  input.r = options.r;
  input.prop_attn = options.prop_attn;
  input.partition = options.partition;
  for (const PreprocessJob& job : jobs) {
    if (job.error) std::rethrow_exception(job.error);
    input.frames.push_back(job.patches);
  }
  session_->warm_up(input);
  return input;
}

at::Tensor DeviceForward::run(const BatchInput& input) {
  const BatchOutput output = session_->forward(input);
  return at::tensor(output.logits).view({input.batch, output.classes});
}

std::vector<OperationTime> DeviceForward::operations(const BatchInput& input) {
  return time_operations(*session_, input);
}

}  // namespace tome::cli
