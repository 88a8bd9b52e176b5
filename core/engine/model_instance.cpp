#include "engine/model_instance.h"

#include <filesystem>
#include <utility>

#include "engine/shared_cache.h"
#include "never_destroyed.h"
#include "tome_error.h"

namespace tome {
namespace {

void check_range(const char* setting, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    throw Error(ErrorKind::kSettings, std::string(setting) + ": found " + std::to_string(value) +
                                          ", expected " + std::to_string(least) + " to " +
                                          std::to_string(most));
  }
}

InstanceConfig checked(InstanceConfig config) {
  if (config.model.empty()) {
    throw Error(ErrorKind::kSettings, "model: found nothing, expected a folder");
  }
  check_range("batch-size", config.batch_size, 1, 1024);
  check_range("batch-timeout", config.batch_timeout_ms, 0, 3'600'000);
  check_range("threads", config.threads, 0, 1024);
  check_range("clip-length", config.clip_length, 0, 1024);
  check_range("input width", config.input_width, 0, 8192);
  check_range("input height", config.input_height, 0, 8192);
  if ((config.input_width == 0) != (config.input_height == 0)) {
    throw Error(ErrorKind::kSettings, "input size: found " + std::to_string(config.input_width) +
                                          "x" + std::to_string(config.input_height) +
                                          ", expected both or neither");
  }
  return config;
}

/// The same folder by another path is the same model.
std::string canonical(const std::string& path) {
  if (path.empty()) return path;
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  if (error) return path;
  const auto found = std::filesystem::weakly_canonical(absolute, error);
  return error ? path : found.string();
}

InstanceConfig normalised(InstanceConfig config) {
  config = checked(std::move(config));
  config.model = canonical(config.model);
  config.labels_file = canonical(config.labels_file);
  if (config.device.empty()) config.device = "auto";
  if (config.device == "cuda") config.device = "cuda:0";
  if (config.precision.empty()) config.precision = "auto";
  return config;
}

BatchLimits limits_of(const InstanceConfig& config) {
  return {config.batch_size, std::chrono::milliseconds(config.batch_timeout_ms)};
}

SharedCache<ModelInstance>& instances() { return never_destroyed<SharedCache<ModelInstance>>(); }

}  // namespace

std::string describe(const InstanceConfig& config) {
  return "model=" + config.model + " labels-file=" + config.labels_file +
         " device=" + config.device + " precision=" + config.precision +
         " batch-size=" + std::to_string(config.batch_size) +
         " batch-timeout=" + std::to_string(config.batch_timeout_ms) +
         " threads=" + std::to_string(config.threads) +
         " clip-length=" + std::to_string(config.clip_length) +
         " input-size=" + std::to_string(config.input_width) + "x" +
         std::to_string(config.input_height);
}

ModelInstance::ModelInstance(InstanceConfig config, const ModelOpener& open)
    : config_(checked(std::move(config))), batcher_(limits_of(config_), [this, &open] {
        OpenedModel opened = open(config_);
        description_ = std::move(opened.description);
        return std::move(opened.session);
      }) {}

std::vector<int64_t> ModelInstance::resolve(const std::string& spec) const {
  return Schedule::parse(spec.empty() ? description_.default_schedule : spec)
      .resolve(description_.geometry);
}

std::shared_ptr<ModelInstance> acquire_instance(const InstanceConfig& config,
                                                const ModelOpener& open) {
  const InstanceConfig wanted = normalised(config);
  const std::string content = describe(wanted);
  const std::string key =
      wanted.instance_id.empty() ? "equal " + content : "id " + wanted.instance_id;
  return instances().acquire(
      key, content, [&] { return std::make_shared<ModelInstance>(wanted, open); },
      [&](const std::string& existing) {
        throw Error(ErrorKind::kSettings, "model-instance-id '" + wanted.instance_id +
                                              "' is in use with another configuration: found {" +
                                              content + "}, expected {" + existing +
                                              "}; to configure it anew close all that share it "
                                              "first (elements: set each of them to NULL)");
      });
}

}  // namespace tome
