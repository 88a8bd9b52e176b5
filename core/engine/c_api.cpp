// The table of C functions: types and errors translated, nothing decided here.
#include "engine/c_api.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "engine/c_api_frame.h"
#include "engine/c_api_values.h"
#include "engine/failure.h"
#include "engine/log.h"
#include "engine/model_instance.h"
#include "engine/open_model.h"
#include "engine/stream.h"
#include "excerpt.h"
#include "tome_error.h"

struct TomeModel {
  std::shared_ptr<tome::ModelInstance> instance;
};

struct TomeStream {
  std::shared_ptr<tome::ModelInstance> instance;
  std::unique_ptr<tome::Stream> stream;
};

struct TomeTicket {
  std::shared_ptr<tome::Ticket> ticket;
  std::shared_ptr<const std::vector<std::string>> labels;
  std::once_flag translated;
  std::vector<TomeScore> scores;  // of all results, one after the other
  std::vector<TomeResult> results;
};

namespace {

using tome::enumerator;
using tome::Error;
using tome::ErrorKind;
using tome::need;
using tome::text;

TomeStatus status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kNotFound:
      return TOME_ERROR_NOT_FOUND;
    case ErrorKind::kRead:
      return TOME_ERROR_READ;
    case ErrorKind::kFormat:
      return TOME_ERROR_FORMAT;
    case ErrorKind::kSettings:
      return TOME_ERROR_SETTINGS;
    case ErrorKind::kDevice:
      return TOME_ERROR_DEVICE;
    case ErrorKind::kOutOfMemory:
      return TOME_ERROR_OUT_OF_MEMORY;
    case ErrorKind::kFailed:
      break;
  }
  return TOME_ERROR_FAILED;
}

TomeStatus report(TomeStatus status, const char* text, TomeError* error) {
  if (error == nullptr) return status;
  error->status = status;
  const std::string_view fits = tome::whole_characters(text, sizeof(error->message) - 1);
  std::memcpy(error->message, fits.data(), fits.size());
  error->message[fits.size()] = '\0';
  return status;
}

/// Runs `body`; whatever it throws becomes a status and a message.
template <class Body>
TomeStatus guarded(TomeError* error, Body&& body) noexcept {
  try {
    if (error != nullptr) report(TOME_OK, "", error);
    body();
    return TOME_OK;
  } catch (...) {
    // Describing an exception may itself run out of memory.
    try {
      const tome::Failure failure = tome::describe_failure(std::current_exception());
      return report(status_of(failure.kind), failure.text.c_str(), error);
    } catch (...) {
      return report(TOME_ERROR_OUT_OF_MEMORY, "out of memory", error);
    }
  }
}

void set_log(TomeLogFunction function, void* user_data) {
  guarded(nullptr, [&] {
    if (function == nullptr) {
      tome::set_log_sink({});
      return;
    }
    tome::set_log_sink([function, user_data](tome::LogLevel level, const std::string& message) {
      function(static_cast<TomeLogLevel>(level), message.c_str(), user_data);
    });
  });
}

TomeStatus model_acquire(const TomeModelConfig* config, TomeModel** model, TomeError* error) {
  return guarded(error, [&] {
    need(model, "model") = nullptr;
    const TomeModelConfig& asked = need(config, "config");
    tome::InstanceConfig wanted;
    wanted.model = text(asked.model);
    wanted.labels_file = text(asked.labels_file);
    wanted.device = text(asked.device);
    wanted.precision = text(asked.precision);
    wanted.instance_id = text(asked.instance_id);
    wanted.batch_size = asked.batch_size;
    wanted.batch_timeout_ms = asked.batch_timeout_ms;
    wanted.threads = asked.threads;
    wanted.clip_length = asked.clip_length;
    wanted.input_width = asked.input_width;
    wanted.input_height = asked.input_height;
    auto handle = std::make_unique<TomeModel>();
    handle->instance = tome::acquire_instance(wanted, tome::open_model);
    *model = handle.release();
  });
}

void model_release(TomeModel* model) {
  guarded(nullptr, [&] { const std::unique_ptr<TomeModel> owned(model); });
}

void model_info(TomeModel* model, TomeModelInfo* info) {
  guarded(nullptr, [&] {
    const tome::ModelDescription& known = need(model, "model").instance->description();
    TomeModelInfo& out = need(info, "info");
    out.name = known.name.c_str();
    out.device = known.device.c_str();
    out.precision = known.precision.c_str();
    out.default_schedule = known.default_schedule.c_str();
    out.classes = static_cast<uint32_t>(known.labels->size());
    out.depth = static_cast<uint32_t>(known.geometry.depth);
    out.width = static_cast<uint32_t>(known.width);
    out.height = static_cast<uint32_t>(known.height);
    out.clip_length = static_cast<uint32_t>(known.clip_length);
    out.tubelet = static_cast<uint32_t>(known.tubelet);
    out.tokens = static_cast<uint32_t>(known.geometry.tokens);
    out.is_clip_model = known.is_clip_model ? 1 : 0;
    out.takes_cuda_frames = known.takes_cuda_frames ? 1 : 0;
  });
}

/// Nanoseconds of one of the batcher's durations.
int64_t duration_of(TomeModel* model, tome::Clock::duration (tome::Batcher::*which)() const) {
  int64_t duration = 0;
  guarded(nullptr, [&] {
    const tome::Batcher& batcher = need(model, "model").instance->batcher();
    duration = std::chrono::duration_cast<std::chrono::nanoseconds>((batcher.*which)()).count();
  });
  return duration;
}

int64_t model_batch_duration(TomeModel* model) {
  return duration_of(model, &tome::Batcher::batch_duration);
}

int64_t model_longest_wait(TomeModel* model) {
  return duration_of(model, &tome::Batcher::longest_wait);
}

TomeStatus stream_open(TomeModel* model, const TomeStreamConfig* config, TomeStream** stream,
                       TomeError* error) {
  return guarded(error, [&] {
    need(stream, "stream") = nullptr;
    const TomeStreamConfig& asked = need(config, "config");
    tome::StreamConfig wanted;
    wanted.name = text(asked.name);
    wanted.schedule = text(asked.schedule);
    wanted.prop_attn = enumerator<tome::PropAttn>(asked.prop_attn, 3, "tome-prop-attn");
    wanted.top_k = asked.top_k;
    wanted.threshold = asked.threshold;
    const int activation = enumerator<int>(asked.activation, 4, "activation");
    if (activation != TOME_ACTIVATION_AUTO) {
      wanted.activation = static_cast<tome::ScoreActivation>(activation - 1);
    }
    wanted.clip_stride = asked.clip_stride;
    wanted.frame_stride = asked.frame_stride;
    wanted.inference_interval = asked.inference_interval;
    wanted.smoothing = asked.smoothing;
    wanted.static_threshold = asked.static_threshold;
    wanted.max_pending = asked.max_pending;
    auto handle = std::make_unique<TomeStream>();
    handle->instance = need(model, "model").instance;
    handle->stream = std::make_unique<tome::Stream>(handle->instance, wanted);
    *stream = handle.release();
  });
}

void stream_close(TomeStream* stream) {
  guarded(nullptr, [&] { const std::unique_ptr<TomeStream> owned(stream); });
}

TomeStatus stream_set_schedule(TomeStream* stream, const char* schedule, TomeError* error) {
  return guarded(error, [&] { need(stream, "stream").stream->set_schedule(text(schedule)); });
}

TomeStatus stream_adjust(TomeStream* stream, uint32_t top_k, double threshold,
                         uint32_t inference_interval, TomeError* error) {
  return guarded(error, [&] {
    need(stream, "stream").stream->adjust({top_k, threshold, inference_interval});
  });
}

int64_t model_effective_r(TomeModel* model, const char* schedule, int64_t* r, uint32_t n,
                          TomeError* error) {
  int64_t sum = -1;
  guarded(error, [&] {
    const tome::ModelInstance& instance = *need(model, "model").instance;
    const std::vector<int64_t> merged =
        tome::effective_r(instance.resolve(text(schedule)), instance.description().geometry);
    if (r != nullptr) {
      std::copy_n(merged.begin(), std::min<size_t>(n, merged.size()), r);
    }
    sum = std::accumulate(merged.begin(), merged.end(), int64_t{0});
  });
  return sum;
}

std::unique_ptr<TomeTicket> wrap(std::shared_ptr<tome::Ticket> ticket, const TomeStream& stream) {
  auto handle = std::make_unique<TomeTicket>();
  handle->ticket = std::move(ticket);
  handle->labels = stream.instance->description().labels;
  return handle;
}

TomeStatus submit(TomeStream* stream, const TomeFrame* frame, TomeTicket** ticket,
                  TomeError* error) {
  return guarded(error, [&] {
    const TomeFrame& in = need(frame, "frame");
    std::shared_ptr<const void> alive = tome::keep_alive(in);
    need(ticket, "ticket") = nullptr;
    TomeStream& to = need(stream, "stream");
    tome::Frame translated = tome::frame_of(in);
    translated.keep_alive = std::move(alive);
    auto handle = wrap(nullptr, to);
    handle->ticket = to.stream->submit(std::move(translated), tome::frame_options_of(in));
    *ticket = handle.release();
  });
}

TomeStatus drain(TomeStream* stream, TomeTicket** ticket, TomeError* error) {
  return guarded(error, [&] {
    need(ticket, "ticket") = nullptr;
    TomeStream& to = need(stream, "stream");
    auto handle = wrap(nullptr, to);
    handle->ticket = to.stream->drain();
    if (handle->ticket != nullptr) *ticket = handle.release();
  });
}

void hurry(TomeStream* stream) {
  guarded(nullptr, [&] { need(stream, "stream").stream->hurry(); });
}

void flush(TomeStream* stream) {
  guarded(nullptr, [&] { need(stream, "stream").stream->flush(); });
}

void translate(TomeTicket& handle) {
  const std::vector<tome::Classification>& results = handle.ticket->results();
  size_t scores = 0;
  for (const tome::Classification& result : results) scores += result.scores.size();
  handle.scores.reserve(scores);  // pointers into it must stay
  for (const tome::Classification& result : results) {
    TomeResult out{};
    out.scores = handle.scores.data() + handle.scores.size();
    out.n_scores = static_cast<uint32_t>(result.scores.size());
    for (const tome::LabelScore& score : result.scores) {
      const auto id = static_cast<size_t>(score.id);
      const char* label = id < handle.labels->size() ? (*handle.labels)[id].c_str() : "";
      handle.scores.push_back({score.id, label, score.score});
    }
    out.region = {result.region.x, result.region.y, result.region.width, result.region.height};
    out.clip_start_pts = result.clip_start_pts;
    out.clip_end_pts = result.clip_end_pts;
    out.n_frames = result.frames;
    out.tokens_in = static_cast<uint32_t>(result.tokens_in);
    out.tokens_out = static_cast<uint32_t>(result.tokens_out);
    out.batch = result.batch;
    out.queue_ms = result.queue_ms;
    out.preprocess_ms = result.preprocess_ms;
    out.inference_ms = result.inference_ms;
    handle.results.push_back(out);
  }
}

TomeOutcome ticket_wait(TomeTicket* ticket, const TomeResult** results, uint32_t* n_results,
                        TomeError* error) {
  TomeOutcome outcome = TOME_TICKET_FAILED;
  if (results != nullptr) *results = nullptr;
  if (n_results != nullptr) *n_results = 0;
  guarded(error, [&] {
    TomeTicket& handle = need(ticket, "ticket");
    const tome::Outcome known = handle.ticket->wait();
    if (known == tome::Outcome::kFailed) {
      throw Error(handle.ticket->error_kind(), handle.ticket->error_text());
    }
    std::call_once(handle.translated, [&handle] { translate(handle); });
    if (results != nullptr) *results = handle.results.data();
    if (n_results != nullptr) *n_results = static_cast<uint32_t>(handle.results.size());
    outcome = static_cast<TomeOutcome>(known);
  });
  return outcome;
}

int ticket_ready(TomeTicket* ticket) {
  return ticket != nullptr && ticket->ticket->ready() ? 1 : 0;
}

void ticket_free(TomeTicket* ticket) {
  guarded(nullptr, [&] { const std::unique_ptr<TomeTicket> owned(ticket); });
}

constexpr TomeCoreApi kApi{TOME_CORE_API_VERSION,
                           sizeof(TomeCoreApi),
                           set_log,
                           model_acquire,
                           model_release,
                           model_info,
                           model_batch_duration,
                           model_longest_wait,
                           stream_open,
                           stream_close,
                           stream_set_schedule,
                           stream_adjust,
                           model_effective_r,
                           submit,
                           drain,
                           hurry,
                           flush,
                           ticket_wait,
                           ticket_ready,
                           ticket_free};

}  // namespace

extern "C" __attribute__((visibility("default"))) const TomeCoreApi* tome_core_api(
    uint32_t version) {
  return version == TOME_CORE_API_VERSION ? &kApi : nullptr;
}
