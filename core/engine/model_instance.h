// A model opened for one device and shared by every stream that asks for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "engine/batcher.h"
#include "merging/schedule.h"

namespace tome {

struct InstanceConfig {
  std::string model;        ///< folder in Hugging Face layout
  std::string labels_file;  ///< empty: the folder's own
  std::string device = "auto";
  std::string precision = "auto";
  std::string instance_id;  ///< empty: shared with every equal configuration
  uint32_t batch_size = 8;
  uint32_t batch_timeout_ms = 5;
  int32_t threads = 0;      ///< 0: LibTorch's default, the number of cores
  int32_t clip_length = 0;  ///< 0: the model's own
  int32_t input_width = 0, input_height = 0;
};

/// One line with every setting but the id: equal configurations have equal lines.
std::string describe(const InstanceConfig& config);

/// What users of a model may ask about it.
struct ModelDescription {
  std::string name, device, precision, default_schedule = "0";
  std::shared_ptr<const std::vector<std::string>> labels;  ///< one for each class
  ScoreActivation activation = ScoreActivation::kSoftmax;
  int64_t width = 0, height = 0;
  int64_t clip_length = 1, tubelet = 1;
  bool is_clip_model = false;
  bool takes_cuda_frames = false;  ///< pixels may lie in the memory of its CUDA device
  TokenGeometry geometry;
};

struct OpenedModel {
  ModelDescription description;
  OpenedSession session;
};
/// Runs on the worker that will serve the model.
using ModelOpener = std::function<OpenedModel(const InstanceConfig&)>;

class ModelInstance {
 public:
  /// @throws Error that says what `open` threw, and kSettings for a configuration that makes no
  /// sense
  ModelInstance(InstanceConfig config, const ModelOpener& open);

  const ModelDescription& description() const { return description_; }
  Batcher& batcher() { return batcher_; }

  /// r asked of each block by a spec; the model's default for an empty one.
  /// @throws Error kSettings
  std::vector<int64_t> resolve(const std::string& spec) const;

 private:
  InstanceConfig config_;
  ModelDescription description_;
  Batcher batcher_;  // last: its worker fills description_
};

/// The instance of this configuration, shared with whoever has it open; else opened with `open`.
/// Opening happens once however many threads ask; a failure leaves nothing behind.
/// @throws Error kSettings, naming both, if the id belongs to another configuration
std::shared_ptr<ModelInstance> acquire_instance(const InstanceConfig& config,
                                                const ModelOpener& open);

}  // namespace tome
