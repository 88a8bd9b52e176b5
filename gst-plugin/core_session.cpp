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

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

/// Whether two settings ask for the same model.
bool same_model(const Settings& a, const Settings& b) {
  return a.model == b.model && a.labels_file == b.labels_file && a.device == b.device &&
         a.precision == b.precision && a.instance_id == b.instance_id &&
         a.batch_size == b.batch_size && a.batch_timeout_ms == b.batch_timeout_ms &&
         a.threads == b.threads && a.clip_length == b.clip_length;
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

Outcome CoreSession::open(const Settings& settings) {
  if (model_ != nullptr && same_model(settings, opened_with_))
    return check_schedule(settings.tome_r);
  close();
  const CoreLibrary library = load_core();
  if (library.api == nullptr) return Failure{TOME_ERROR_NOT_FOUND, library.error};
  static std::once_flag once;
  std::call_once(once, [&] {
    GST_DEBUG_CATEGORY_INIT(tomevit_debug, "tomevit", 0, "gst-tome core library");
    GST_CAT_INFO(tomevit_debug, "core library: %s", library.path.c_str());
    library.api->set_log(log_to_gst, nullptr);
  });
  api_ = library.api;

  const std::string folder = settings.model.empty() ? default_model_folder() : settings.model;
  if (folder.empty()) {
    return Failure{TOME_ERROR_SETTINGS,
                   "Property 'model' is not set, and the default model (camera-state) is not "
                   "installed: expected a folder with config.json and model.safetensors"};
  }
  TomeModelConfig config{};
  config.model = folder.c_str();
  config.labels_file = or_null(settings.labels_file);
  config.device = settings.device.c_str();
  config.precision = precision_name(settings.precision);
  config.instance_id = or_null(settings.instance_id);
  config.batch_size = settings.batch_size;
  config.batch_timeout_ms = settings.batch_timeout_ms;
  config.threads = settings.threads;
  config.clip_length = static_cast<int32_t>(settings.clip_length);
  TomeError error{};
  TomeModel* model = nullptr;
  if (api_->model_acquire(&config, &model, &error) != TOME_OK) return failure(error);
  {
    const std::scoped_lock lock(mutex_);
    model_ = model;
  }
  api_->model_info(model_, &info_);
  model_name_ = info_.name != nullptr ? info_.name : "";
  opened_with_ = settings;
  if (auto bad = check_schedule(settings.tome_r)) {
    close();
    return bad;
  }
  return std::nullopt;
}

void CoreSession::close() {
  const std::scoped_lock lock(mutex_);
  if (model_ != nullptr) api_->model_release(model_);
  model_ = nullptr;
}

Outcome CoreSession::start(const Settings& settings, const std::string& name, uint32_t depth) {
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

Outcome CoreSession::submit(const TomeFrame& frame, TicketPtr& ticket) {
  TomeError error{};
  TomeTicket* made = nullptr;
  if (api_->submit(stream_, &frame, &made, &error) != TOME_OK) return failure(error);
  ticket = TicketPtr(made, TicketRelease{api_});
  return std::nullopt;
}

Outcome CoreSession::drain(TicketPtr& ticket) {
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

Outcome CoreSession::set_schedule(const std::string& spec) {
  const std::scoped_lock lock(mutex_);
  if (stream_ == nullptr) return std::nullopt;
  const char* schedule = spec.empty() ? info_.default_schedule : spec.c_str();
  TomeError error{};
  if (api_->stream_set_schedule(stream_, schedule, &error) != TOME_OK) return failure(error);
  return std::nullopt;
}

int64_t CoreSession::batch_duration() const {
  const std::scoped_lock lock(mutex_);
  return model_ != nullptr ? api_->model_batch_duration(model_) : 0;
}

int64_t CoreSession::longest_wait() const {
  const std::scoped_lock lock(mutex_);
  return model_ != nullptr ? api_->model_longest_wait(model_) : 0;
}

Outcome CoreSession::check_schedule(const std::string& spec) const {
  if (spec.empty()) return std::nullopt;
  TomeError error{};
  if (api_->model_effective_r(model_, spec.c_str(), nullptr, 0, &error) >= 0) return std::nullopt;
  return Failure{error.status != TOME_OK ? error.status : TOME_ERROR_SETTINGS, error.message};
}

}  // namespace tome::gst
