#include "core_session.h"

#include <gst/gst.h>

#include <utility>

#include "core_loader.h"
#include "install_paths.h"

GST_DEBUG_CATEGORY_STATIC(tomevit_debug);

namespace tome::gst {
namespace {

void log_to_gst(TomeLogLevel level, const char* text, void*) {
  static constexpr GstDebugLevel kLevels[] = {GST_LEVEL_ERROR, GST_LEVEL_WARNING, GST_LEVEL_INFO,
                                              GST_LEVEL_DEBUG};
  GST_CAT_LEVEL_LOG(tomevit_debug, kLevels[level], nullptr, "%s", text);
}

Failure failure(const TomeError& error) {
  return {error.status != TOME_OK ? error.status : TOME_ERROR_FAILED, error.message};
}

/// Whoever heard a message of the sink pad's thread has stopped the element in that thread.
Failure stopped() { return {TOME_ERROR_FAILED, "the stream was stopped meanwhile"}; }

/// Of a spec that the user set. The core speaks of r schedules, wherever they come from.
Failure bad_schedule(const TomeError& error) {
  Failure bad = failure(error);
  if (bad.status == TOME_ERROR_SETTINGS) bad.text.insert(0, "tome-r: ");
  return bad;
}

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

ModelRequest request_of(const Settings& settings) {
  return {settings.model.empty() ? default_model_folder() : settings.model,
          settings.labels_file,
          settings.device,
          precision_name(settings.precision),
          settings.instance_id,
          settings.batch_size,
          settings.batch_timeout_ms,
          settings.threads,
          settings.clip_length};
}

/// Valid as long as `request`.
TomeModelConfig config_of(const ModelRequest& request) {
  TomeModelConfig config{};
  config.model = request.folder.c_str();
  config.labels_file = or_null(request.labels_file);
  config.device = request.device.c_str();
  config.precision = request.precision.c_str();
  config.instance_id = or_null(request.instance_id);
  config.batch_size = request.batch_size;
  config.batch_timeout_ms = request.batch_timeout_ms;
  config.threads = request.threads;
  config.clip_length = static_cast<int32_t>(request.clip_length);
  return config;
}

}  // namespace

void TicketRelease::operator()(TomeTicket* ticket) const {
  if (api->ticket_ready(ticket) == 0) {
    const TomeResult* results = nullptr;
    uint32_t count = 0;
    TomeError error{};
    api->ticket_wait(ticket, &results, &count, &error);
  }
  api->ticket_free(ticket);
}

CoreSession::~CoreSession() {
  stop();
  close();
}

MaybeFailure CoreSession::open(const Settings& settings) {
  const ModelRequest request = request_of(settings);
  const bool stays = model_ != nullptr && request == opened_;
  if (!stays) {
    close();
    if (auto failed = load()) return failed;
    if (auto failed = acquire(request)) return failed;
  }
  auto bad = check_schedule(settings.tome_r);
  if (bad && !stays) close();
  return bad;
}

MaybeFailure CoreSession::load() {
  const CoreLibrary library = load_core();
  if (library.api == nullptr) return Failure{TOME_ERROR_NOT_FOUND, library.error};
  static std::once_flag once;
  std::call_once(once, [&] {
    GST_DEBUG_CATEGORY_INIT(tomevit_debug, "tomevit", 0, "gst-tome core library");
    GST_CAT_INFO(tomevit_debug, "core library: %s", library.path.c_str());
    library.api->set_log(log_to_gst, nullptr);
  });
  api_ = library.api;
  return std::nullopt;
}

MaybeFailure CoreSession::acquire(const ModelRequest& request) {
  if (request.folder.empty()) {
    return Failure{TOME_ERROR_SETTINGS,
                   "Property 'model' is not set, and the default model (camera-state) is not "
                   "installed: expected a folder with config.json and model.safetensors"};
  }
  const TomeModelConfig config = config_of(request);
  TomeError error{};
  TomeModel* model = nullptr;
  if (api_->model_acquire(&config, &model, &error) != TOME_OK) return failure(error);
  {
    const std::scoped_lock lock(mutex_);
    model_ = model;
  }
  api_->model_info(model_, &info_);
  model_name_ = info_.name != nullptr ? info_.name : "";
  opened_ = request;
  return std::nullopt;
}

void CoreSession::close() {
  TomeModel* model = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    std::swap(model, model_);
  }
  // The last one waits for the model's thread, and frees gigabytes.
  if (model != nullptr) api_->model_release(model);
}

MaybeFailure CoreSession::start(const Settings& settings, const std::string& name, uint32_t depth) {
  TomeStreamConfig config{};
  config.name = name.c_str();
  config.schedule = or_null(settings.tome_r);
  config.prop_attn = settings.prop_attn;
  config.top_k = settings.top_k;
  config.threshold = settings.threshold;
  config.activation = settings.activation;
  config.clip_stride = settings.clip_stride;
  config.frame_stride = settings.frame_stride;
  config.inference_interval = settings.inference_interval;
  config.smoothing = settings.smoothing;
  config.static_threshold = settings.static_threshold;
  config.max_pending = depth;
  TomeError error{};
  TomeStream* stream = nullptr;
  if (api_->stream_open(model_, &config, &stream, &error) != TOME_OK) return failure(error);
  const std::scoped_lock lock(mutex_);
  stream_ = stream;
  return std::nullopt;
}

void CoreSession::stop() {
  TomeStream* stream = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    std::swap(stream, stream_);
  }
  if (stream != nullptr) api_->stream_close(stream);
}

MaybeFailure CoreSession::submit(const TomeFrame& frame, TicketPtr& ticket) {
  if (stream_ == nullptr) {
    frame.release(frame.release_data);
    return stopped();
  }
  TomeError error{};
  TomeTicket* made = nullptr;
  if (api_->submit(stream_, &frame, &made, &error) != TOME_OK) return failure(error);
  ticket = TicketPtr(made, TicketRelease{api_});
  return std::nullopt;
}

MaybeFailure CoreSession::drain(TicketPtr& ticket) {
  if (stream_ == nullptr) return stopped();
  TomeError error{};
  TomeTicket* made = nullptr;
  if (api_->drain(stream_, &made, &error) != TOME_OK) return failure(error);
  if (made != nullptr) ticket = TicketPtr(made, TicketRelease{api_});
  return std::nullopt;
}

void CoreSession::hurry() {
  const std::scoped_lock lock(mutex_);
  if (stream_ != nullptr) api_->hurry(stream_);
}

void CoreSession::flush() {
  const std::scoped_lock lock(mutex_);
  if (stream_ != nullptr) api_->flush(stream_);
}

MaybeFailure CoreSession::adjust(const Settings& settings) {
  const std::scoped_lock lock(mutex_);
  if (stream_ == nullptr) return std::nullopt;
  TomeError error{};
  if (api_->stream_adjust(stream_, settings.top_k, settings.threshold, settings.inference_interval,
                          &error) != TOME_OK) {
    return failure(error);
  }
  return std::nullopt;
}

MaybeFailure CoreSession::set_schedule(const std::string& spec) {
  const std::scoped_lock lock(mutex_);
  if (stream_ == nullptr) return std::nullopt;
  const char* schedule = spec.empty() ? info_.default_schedule : spec.c_str();
  TomeError error{};
  if (api_->stream_set_schedule(stream_, schedule, &error) == TOME_OK) return std::nullopt;
  return spec.empty() ? failure(error) : bad_schedule(error);
}

int64_t CoreSession::batch_duration() const {
  const std::scoped_lock lock(mutex_);
  return model_ != nullptr ? api_->model_batch_duration(model_) : 0;
}

int64_t CoreSession::longest_wait() const {
  const std::scoped_lock lock(mutex_);
  return model_ != nullptr ? api_->model_longest_wait(model_) : 0;
}

MaybeFailure CoreSession::check_schedule(const std::string& spec) const {
  if (spec.empty()) return std::nullopt;
  TomeError error{};
  if (api_->model_effective_r(model_, spec.c_str(), nullptr, 0, &error) >= 0) return std::nullopt;
  return bad_schedule(error);
}

}  // namespace tome::gst
