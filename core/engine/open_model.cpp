#include "engine/open_model.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "engine/aten_session.h"
#include "engine/cuda_model.h"
#include "engine/device.h"
#include "engine/failure.h"
#include "engine/log.h"
#include "engine/shared_cache.h"
#include "never_destroyed.h"
#include "tome_error.h"
#include "vit/model.h"
#include "vit/usable_cores.h"

namespace tome {
namespace {

/// Weights on their device, and what the folder says besides.
struct LoadedModel {
  at::Device device = at::kCPU;
  at::ScalarType precision = at::kFloat;
  Checkpoint checkpoint;     // its weights moved out
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

int64_t clip_length_of(const InstanceConfig& config, const ViTConfig& model) {
  if (model.frames > 1) return model.frames;
  return std::max(config.clip_length, 1);
}

/// Milliseconds of a forward of one request.
double time_forward(const VisionTransformer& transformer, const at::Tensor& patches) {
  const TimePoint started = Clock::now();
  transformer.forward(patches);
  return milliseconds(Clock::now() - started);
}

/// The shortest of some forwards of two forms of a model, in turn, after one of each to warm up:
/// two of each, or up to nine where they take little time and are much alike.
std::pair<double, double> time_in_turn(const VisionTransformer& one, const VisionTransformer& other,
                                       int64_t frames) {
  const ViTConfig& config = one.config();
  const at::Tensor patches = at::zeros(
      {1, frames, config.grid_rows() * config.grid_cols(), 3 * config.patch * config.patch});
  const TimePoint started = Clock::now();
  time_forward(one, patches);
  time_forward(other, patches);
  std::pair best{time_forward(one, patches), time_forward(other, patches)};
  const auto alike = [&] {
    return best.first < 1.5 * best.second && best.second < 1.5 * best.first;
  };
  for (int run = 1; run < 9; ++run) {
    const bool long_enough = Clock::now() - started > std::chrono::seconds(1);
    if (run > 1 && (long_enough || !alike())) break;
    best.first = std::min(best.first, time_forward(one, patches));
    best.second = std::min(best.second, time_forward(other, patches));
  }
  return best;
}

std::shared_ptr<const VisionTransformer> build(const Checkpoint& checkpoint, at::Device device,
                                               at::ScalarType precision) {
  return std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights, device,
                                                   precision);
}

constexpr double kWorthRounding = 0.9;

std::shared_ptr<const VisionTransformer> build_fastest_on_cpu(const Checkpoint& checkpoint,
                                                              int64_t frames) {
  auto fp32 = build(checkpoint, at::kCPU, at::kFloat);
  if (!cpu_has_native_bf16()) return fp32;
  auto bf16 = build(checkpoint, at::kCPU, at::kBFloat16);
  const auto [fp32_ms, bf16_ms] = time_in_turn(*fp32, *bf16, frames);
  log(LogLevel::kInfo, "precision=auto: one forward of " + checkpoint.config.name + " takes " +
                           std::to_string(fp32_ms) + " ms in fp32, " + std::to_string(bf16_ms) +
                           " ms in bf16");
  // Where it gains little, its rounding is not worth it, nor that noise decides from run to run.
  return bf16_ms < kWorthRounding * fp32_ms ? bf16 : fp32;
}

/// @throws Error kDevice where LibTorch's CUDA half is missing
void check_libtorch_cuda(const std::string& model, at::Device device) {
  if (const std::string& reason = why_no_libtorch_cuda(); !reason.empty()) {
    throw Error(ErrorKind::kDevice, model + " on " + device_name(device) +
                                        " needs LibTorch's operators for this: " + reason);
  }
}

/// For what the fused forward does not do; its weights are gone by then and are read again.
/// @throws Error kDevice where LibTorch's CUDA half is missing
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
  loaded->device = device;
  loaded->own_kernels = device.is_cuda() && built_with_cuda();
  if (loaded->own_kernels) {
    load_on_cuda(*loaded, config, precision);
    loaded->checkpoint.weights = ViTWeights{};
    return loaded;
  }
  const Checkpoint& checkpoint = loaded->checkpoint;
  if (precision == at::ScalarType::Undefined) {
    loaded->transformer =
        build_fastest_on_cpu(checkpoint, clip_length_of(config, checkpoint.config));
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

std::shared_ptr<LoadedModel> share_loaded(const InstanceConfig& config) {
  const at::Device device = choose_device(config.device);
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

ModelDescription describe_model(const InstanceConfig& config, const LoadedModel& loaded) {
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
  model.clip_length = clip_length_of(config, vit);
  model.tubelet = vit.tubelet;
  model.is_clip_model = vit.frames > 1;
  const int64_t images = model.is_clip_model ? 1 : model.clip_length;
  model.geometry = {vit.depth, vit.prefix_tokens() + images * vit.patch_tokens(),
                    vit.prefix_tokens(), vit.dim, vit.mlp_hidden};
  return model;
}

/// A picture of the size that cameras send, for warm-up: its content does not matter.
Frame warm_up_frame() {
  constexpr int32_t kWidth = 1280, kHeight = 720;
  auto pixels = std::make_shared<std::vector<uint8_t>>(size_t{3} * kWidth * kHeight);
  for (size_t i = 0; i < pixels->size(); ++i)
    (*pixels)[i] = static_cast<uint8_t>(i * 2654435761U >> 24);
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = kWidth;
  frame.height = kHeight;
  frame.planes[0] = {pixels->data(), int64_t{3} * kWidth, pixels->size()};
  frame.keep_alive = std::move(pixels);
  return frame;
}

BatchInput batch_of(DeviceSession& session, const BatchInput& model, const Frame& frame,
                    int64_t batch) {
  BatchInput input = model;
  input.batch = batch;
  if (model.frames_per_request > 1) {  // as a stream of clips does: each frame when it comes
    input.frames.assign(static_cast<size_t>(batch * model.frames_per_request),
                        session.preprocess_one(frame));
    return input;
  }
  std::vector<PreprocessJob> jobs(static_cast<size_t>(batch), PreprocessJob{&frame, {}, {}});
  session.preprocess(jobs);
  for (const PreprocessJob& job : jobs) {
    if (job.error) std::rethrow_exception(job.error);
    input.frames.push_back(job.patches);
  }
  return input;
}

std::vector<int64_t> default_r(const ModelDescription& model) {
  return Schedule::parse(model.default_schedule).resolve(model.geometry);
}

struct WarmedUp {
  Clock::duration full_batch{};
  int64_t fits = 0;  ///< requests that there was memory for
};

/// Runs the model as it will be used, so that the first frames of a stream do not pay for what is
/// done once, and measures a full batch, or one half as large where that does not fit, and so on.
/// @param captures  the session has graphs, which a larger batch makes it drop
/// @throws Error kOutOfMemory if one request does not
WarmedUp warm_up(DeviceSession& session, int64_t clip_length, const BatchKey& key,
                 int64_t batch_size, bool captures) {
  BatchInput input;
  input.frames_per_request = clip_length;
  input.r = key.r;
  input.prop_attn = key.prop_attn;
  const Frame frame = warm_up_frame();
  const auto time_warm = [&](int64_t batch) {
    session.warm_up(batch_of(session, input, frame, batch));
    const TimePoint started = Clock::now();
    session.forward(batch_of(session, input, frame, batch));
    return Clock::now() - started;
  };
  const Clock::duration one = time_warm(1);
  // A batch that would take seconds is not worth the wait: its duration is learnt from real ones.
  if (batch_size == 1 || one * batch_size > std::chrono::seconds(2)) {
    return {one * batch_size, batch_size};
  }
  const auto fits_memory = [](int64_t batch, const auto& run) {
    try {
      run(batch);
      return true;
    } catch (...) {
      const Failure failure = describe_failure(std::current_exception());
      if (failure.kind != ErrorKind::kOutOfMemory) throw;
      log(LogLevel::kWarning,
          "a forward of " + std::to_string(batch) + " requests has no memory: " + failure.text);
      return false;
    }
  };
  WarmedUp warm{one * batch_size, 1};
  for (int64_t batch = batch_size; batch > 1; batch = (batch + 1) / 2) {
    const auto measure = [&](int64_t n) { warm = {time_warm(n) * batch_size / n, n}; };
    if (fits_memory(batch, measure)) break;
  }
  if (captures) {  // the graph of one request again, where it stays
    fits_memory(1, [&](int64_t n) { session.forward(batch_of(session, input, frame, n)); });
  }
  return warm;
}

/// LibTorch keeps the number of threads by calling thread, so it is set on the worker. 0 means the
/// process's default, which must be asked for before anyone changed it.
void set_threads(int32_t threads) {
  static const int process_default = at::get_num_threads();
  // More than there are cores only wait for one another, and take a multiple of the time.
  if (const int cores = usable_cores(); threads > cores) {
    log(LogLevel::kWarning, "threads=" + std::to_string(threads) + ": taken as " +
                                std::to_string(cores) + ", the cores that this process may use");
    threads = cores;
  }
  at::set_num_threads(threads > 0 ? threads : process_default);
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

OpenedModel open_model(const InstanceConfig& config) {
  set_threads(config.threads);
  std::shared_ptr<LoadedModel> loaded = share_loaded(config);
  OpenedModel opened;
  opened.description = describe_model(config, *loaded);
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
