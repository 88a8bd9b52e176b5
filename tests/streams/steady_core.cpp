// The engine as it is, on a device that takes a fixed time for each batch and no processor: what
// streams do to each other can then be timed on a busy machine too.
//
// The model's "folder" is the time: model=200ms. The only tag of a frame is its first byte.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>
#include <thread>

#include "engine/open_model.h"

namespace tome {
namespace {

class SteadySession : public DeviceSession {
 public:
  explicit SteadySession(Clock::duration batch) : batch_(batch) {}

  void preprocess(std::span<PreprocessJob> jobs) override {
    started_ = Clock::now();
    for (PreprocessJob& job : jobs) job.patches = preprocess_one(*job.frame);
  }

  PatchesPtr preprocess_one(const Frame& frame) override {
    // As large as a real frame's, so that memory is used as it would be; and filled without OpenMP,
    // whose threads wait for each other's turn on a busy machine.
    at::Tensor rows = at::empty({196, 768});
    std::fill_n(rows.mutable_data_ptr<float>(), rows.numel(),
                static_cast<float>(*frame.planes[0].data));
    return std::make_shared<const Patches>(Patches{std::move(rows)});
  }

  BatchOutput forward(const BatchInput& input) override {
    BatchOutput output;
    output.classes = 256;
    output.tokens_in = 197;
    output.tokens_out.assign(static_cast<size_t>(input.batch), 41);
    output.logits.assign(static_cast<size_t>(input.batch * output.classes), 0.0F);
    for (int64_t i = 0; i < input.batch; ++i) {
      const auto last = static_cast<size_t>((i + 1) * input.frames_per_request - 1);
      const int64_t tag = static_cast<int64_t>(*input.frames[last]->rows.const_data_ptr<float>());
      output.logits[static_cast<size_t>(i * output.classes + tag)] = 100;
    }
    std::this_thread::sleep_until(started_ + batch_);
    return output;
  }

 private:
  Clock::duration batch_;
  TimePoint started_;
};

}  // namespace

OpenedModel open_model(const InstanceConfig& config) {
  const std::string name = std::filesystem::path(config.model).filename().string();
  int milliseconds = 0;
  std::from_chars(name.data(), name.data() + name.size(), milliseconds);
  OpenedModel opened;
  opened.session.batch_duration = std::chrono::milliseconds(milliseconds);
  opened.session.session = std::make_unique<SteadySession>(opened.session.batch_duration);
  ModelDescription& model = opened.description;
  model.name = "steady";
  model.device = "cpu";
  model.precision = "fp32";
  std::vector<std::string> labels;
  for (int i = 0; i < 256; ++i) labels.push_back("value-" + std::to_string(i));
  model.labels = std::make_shared<const std::vector<std::string>>(std::move(labels));
  model.clip_length = std::max(config.clip_length, 1);
  return opened;
}

}  // namespace tome
