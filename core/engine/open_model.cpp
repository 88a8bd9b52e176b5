#include "engine/open_model.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "engine/aten_session.h"
#include "engine/clip_frames.h"
#include "engine/cpu_precision.h"
#include "engine/cuda_model.h"
#include "engine/device.h"
#include "engine/log.h"
#include "engine/shared_cache.h"
#include "engine/warm_up.h"
#include "never_destroyed.h"
#include "tome_error.h"
#include "vit/model.h"
#include "vit/token_geometry.h"
#include "vit/usable_cores.h"

namespace tome {
namespace {

/// Weights on their device, and what the folder says besides.
struct LoadedModel {
  at::Device device = at::kCPU;
  at::ScalarType precision = at::kFloat;
  Checkpoint checkpoint;     // its weights moved out
  int64_t clip_length = 1;   ///< frames of one request
  bool own_kernels = false;  ///< on a CUDA device that our kernels run on
  /// With own kernels; null where the fused forward cannot run the model.
  std::shared_ptr<const CudaModel> cuda;
  /// In LibTorch's operators; on a CUDA device made when it is first needed.
  std::shared_ptr<const VisionTransformer> transformer;
  std::mutex making;
};

SharedCache<LoadedModel>& loaded_models() { return never_destroyed<SharedCache<LoadedModel>>(); }

Checkpoint load(const InstanceConfig& config) {
  LoadOptions options;
  if (!config.labels_file.empty()) options.labels_file = config.labels_file;
  if (config.input_width > 0) {
    options.image_width = config.input_width;
    options.image_height = config.input_height;
  }
  options.clip_length = config.clip_length;
  return load_checkpoint(config.model, options);
}

std::shared_ptr<const VisionTransformer> build(const Checkpoint& checkpoint, at::Device device,
                                               at::ScalarType precision) {
  return std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights, device,
                                                   precision);
}

/// A device that does for our kernels, and not for a model that they do not run.
struct NeedsLibtorch : Error {
  using Error::Error;
};

/// @throws NeedsLibtorch where LibTorch's CUDA half is missing
void check_libtorch_cuda(const std::string& model, at::Device device) {
  if (const std::string& reason = why_no_libtorch_cuda(); !reason.empty()) {
    throw NeedsLibtorch(ErrorKind::kDevice, model + " on " + device_name(device) +
                                                " needs LibTorch's operators for this: " + reason);
  }
}

/// For what the fused forward does not do; its weights are gone by then and are read again.
/// @throws NeedsLibtorch where LibTorch's CUDA half is missing
std::shared_ptr<const VisionTransformer> aten_model(LoadedModel& loaded,
                                                    const InstanceConfig& config) {
  const std::lock_guard lock(loaded.making);
  if (!loaded.transformer) {
    check_libtorch_cuda(config.model, loaded.device);
    loaded.transformer = build(load(config), loaded.device, loaded.precision);
  }
  return loaded.transformer;
}

void load_on_cuda(LoadedModel& loaded, const InstanceConfig& config, at::ScalarType precision) {
  const Checkpoint& checkpoint = loaded.checkpoint;
  const cuda::ElementType type = element_type(precision);
  loaded.precision = precision;
  const std::string reason = why_not_fused(checkpoint.config, type);
  if (reason.empty()) {
    loaded.cuda = upload_model(checkpoint.config, checkpoint.weights, type, loaded.device.index());
  } else {
    check_libtorch_cuda(config.model, loaded.device);  // fails now, not with the first frame
    loaded.transformer = build(checkpoint, loaded.device, precision);
  }
}

/// @param precision  undefined, on the CPU alone: the fastest that is worth its rounding
std::shared_ptr<LoadedModel> make_loaded(const InstanceConfig& config, at::Device device,
                                         at::ScalarType precision) {
  auto loaded = std::make_shared<LoadedModel>();
  loaded->checkpoint = load(config);
  // Before any forward: one of far too many tokens would take hours.
  loaded->clip_length = clip_frames(loaded->checkpoint.config, config.clip_length);
  loaded->device = device;
  loaded->own_kernels = device.is_cuda() && built_with_cuda();
  if (loaded->own_kernels) {
    load_on_cuda(*loaded, config, precision);
    loaded->checkpoint.weights = ViTWeights{};
    return loaded;
  }
  const Checkpoint& checkpoint = loaded->checkpoint;
  if (precision == at::ScalarType::Undefined) {
    loaded->transformer = build_fastest_on_cpu(checkpoint, loaded->clip_length);
  } else {
    if (precision == at::kBFloat16 && device.is_cpu() && !cpu_has_native_bf16()) {
      log(LogLevel::kWarning,
          "precision=bf16: this processor has no bfloat16 arithmetic, so fp32 is faster");
    }
    loaded->transformer = build(checkpoint, device, precision);
  }
  loaded->precision = loaded->transformer->precision();
  loaded->checkpoint.weights = ViTWeights{};
  return loaded;
}

std::shared_ptr<LoadedModel> share_loaded_on(at::Device device, const InstanceConfig& config) {
  at::ScalarType precision = parse_precision(config.precision, device);
  // Before the key is made, so that weights are shared with those who ask for it by name.
  constexpr at::ScalarType kAuto = at::ScalarType::Undefined;
  if (precision == kAuto && !device.is_cpu()) precision = at::kBFloat16;
  const std::string named = precision == kAuto ? "auto" : precision_name(precision);
  const std::string key = config.model + '\n' + config.labels_file + '\n' + device_name(device) +
                          ' ' + named + ' ' + std::to_string(config.clip_length) + ' ' +
                          std::to_string(config.input_width) + 'x' +
                          std::to_string(config.input_height);
  return loaded_models().acquire(
      key, key, [&] { return make_loaded(config, device, precision); }, [](const std::string&) {});
}

std::shared_ptr<LoadedModel> share_loaded(const InstanceConfig& config) {
  try {
    return share_loaded_on(choose_device(config.device), config);
  } catch (const NeedsLibtorch& error) {
    // Only now is it known that this model in this precision, which fp16 is none for the CPU, is
    // not for this device.
    if (!is_auto(config.device) || config.precision == "fp16") throw;
    log(LogLevel::kInfo, std::string("device=auto: the CPU (") + error.what() + ")");
    return share_loaded_on(at::kCPU, config);
  }
}

ModelDescription describe_model(const LoadedModel& loaded) {
  const Checkpoint& checkpoint = loaded.checkpoint;
  const ViTConfig& vit = checkpoint.config;
  ModelDescription model;
  model.name = vit.name;
  model.device = device_name(loaded.device);
  model.precision = precision_name(loaded.precision);
  model.takes_cuda_frames = loaded.own_kernels;
  model.default_schedule = checkpoint.default_schedule;
  model.labels = std::make_shared<const std::vector<std::string>>(checkpoint.labels);
  model.activation = checkpoint.activation;
  model.width = vit.image_width;
  model.height = vit.image_height;
  model.clip_length = loaded.clip_length;
  model.tubelet = vit.tubelet;
  model.is_clip_model = vit.frames > 1;
  model.geometry = token_geometry(vit, loaded.clip_length);
  return model;
}

std::vector<int64_t> default_r(const ModelDescription& model) {
  return Schedule::parse(model.default_schedule).resolve(model.geometry);
}

/// The session, holding on to the shared weights.
class LoadedSession : public AtenSession {
 public:
  explicit LoadedSession(std::shared_ptr<LoadedModel> loaded)
      : AtenSession(loaded->transformer, loaded->checkpoint.preprocess),
        loaded_(std::move(loaded)) {}

 private:
  std::shared_ptr<LoadedModel> loaded_;
};

std::unique_ptr<DeviceSession> make_session(const std::shared_ptr<LoadedModel>& loaded,
                                            const InstanceConfig& config) {
  if (!loaded->own_kernels) return std::make_unique<LoadedSession>(loaded);
  CudaSessionSetup setup;
  setup.config = loaded->checkpoint.config;
  setup.preprocess = loaded->checkpoint.preprocess;
  setup.device = loaded->device.index();
  setup.type = element_type(loaded->precision);
  setup.model = loaded->cuda;
  setup.aten = [loaded, config] { return aten_model(*loaded, config); };
  return open_cuda_session(std::move(setup));
}

}  // namespace

void set_worker_threads(int32_t threads) {
  // LibTorch keeps the number by thread, and the last one that any thread set: a thread's first
  // question for its number, or its first parallel loop, puts that in place of its own. Asked
  // before, it cannot. The process's default must be asked for before anyone changed it.
  // LibTorch's own counts the machine's cores, whatever a container allows.
  static const int process_default = std::min(at::get_num_threads(), usable_cores());
  static_cast<void>(at::get_num_threads());
  // More than there are cores only wait for one another, and take a multiple of the time.
  if (const int cores = usable_cores(); threads > cores) {
    log(LogLevel::kWarning, "threads=" + std::to_string(threads) + ": taken as " +
                                std::to_string(cores) + ", the cores that this process may use");
    threads = cores;
  }
  at::set_num_threads(threads > 0 ? threads : process_default);
}

OpenedModel open_model(const InstanceConfig& config) {
  set_worker_threads(config.threads);
  std::shared_ptr<LoadedModel> loaded = share_loaded(config);
  OpenedModel opened;
  opened.description = describe_model(*loaded);
  opened.session.session = make_session(loaded, config);
  const BatchKey defaults{default_r(opened.description), PropAttn::kAuto, -1};
  DeviceSession& session = *opened.session.session;
  const int64_t clip_length = opened.description.clip_length;
  const bool captures = loaded->cuda != nullptr;
  const WarmedUp warm = warm_up(session, clip_length, defaults, config.batch_size, captures);
  opened.session.batch_duration = warm.full_batch;
  if (warm.fits < config.batch_size) {
    opened.session.most_requests = static_cast<size_t>(warm.fits);
  }
  if (captures) {
    opened.session.warm_up = [&session, defaults, clip_length, config,
                              fits = warm.fits](const BatchKey& key) {
      const bool merges_static = key.static_threshold >= 0 && clip_length > 1;
      if (key == defaults || merges_static) return;  // was done; is not done by our kernels
      const TimePoint started = Clock::now();
      warm_up(session, clip_length, key, fits, true);
      log(LogLevel::kInfo, "measured the products of another schedule of " + config.model + " in " +
                               std::to_string(milliseconds(Clock::now() - started)) + " ms");
    };
  }
  log(LogLevel::kInfo, "opened " + opened.description.name + " (" + describe(config) + ") on " +
                           opened.description.device + " in " + opened.description.precision +
                           ": a full batch takes " +
                           std::to_string(milliseconds(opened.session.batch_duration)) + " ms");
  return opened;
}

}  // namespace tome
