// Models, streams and tickets of the fake core: c_api.h's contract without any arithmetic.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <utility>

#include "fake_state.h"

namespace tome::testing {
namespace {

FakeCore::State& state() { return FakeCore::instance().state(); }

TomeStatus fill(TomeError* error, TomeStatus status, const std::string& text) {
  if (error != nullptr) {
    error->status = status;
    std::snprintf(error->message, sizeof error->message, "%s", text.c_str());
  }
  return status;
}

TomeStatus take_failure(std::optional<Planned>& planned, TomeError* error) {
  if (!planned) return TOME_OK;
  const Planned failure = *planned;
  planned.reset();
  return fill(error, failure.status, failure.text);
}

/// Unlocked, because it may call the element.
void run_once(std::function<void()>& planned) {
  std::function<void()> task;
  {
    const std::scoped_lock lock(state().mutex);
    task = std::exchange(planned, nullptr);
  }
  if (task) task();
}

const char* text(const char* value) { return value != nullptr ? value : "(none)"; }

/// Calls release once; the lock is not held meanwhile, as a callback may do anything.
void release_frame(std::unique_lock<std::mutex>& lock, TomeTicket& ticket) {
  if (!ticket.mapped) return;
  ticket.mapped = false;
  const TomeFrame frame = ticket.frame;
  lock.unlock();
  frame.release(frame.release_data);
  lock.lock();
  --state().mapped;
}

void make_ready(TomeTicket& ticket, TomeOutcome outcome) {
  ticket.outcome = outcome;
  ticket.ready = true;
  --ticket.stream->pending;
  state().changed.notify_all();
}

uint8_t corner_value(const TomeFrame& frame, const TomeRegion& region) {
  const int bytes = frame.format <= TOME_FORMAT_BGR ? 3 : frame.format <= TOME_FORMAT_BGRA ? 4 : 1;
  return frame.plane[0][region.y * frame.stride[0] + region.x * bytes];
}

void add_result(TomeTicket& ticket, const TomeRegion& region, uint8_t value) {
  ticket.labels.push_back("value-" + std::to_string(value));
  ticket.scores.push_back({value, nullptr, static_cast<float>(value) / 255.0F});
  TomeResult result{};
  result.n_scores = 1;
  result.region = region;
  result.clip_start_pts = ticket.clip_start;
  result.clip_end_pts = ticket.clip_end;
  result.n_frames = ticket.n_frames;
  result.tokens_in = ticket.stream->model->behaviour.tokens_in;
  result.tokens_out = ticket.stream->model->behaviour.tokens_out;
  result.inference_ms = ticket.stream->model->behaviour.delay_ms;
  result.batch = 1;
  ticket.results.push_back(result);
}

void classify(TomeTicket& ticket) {
  if (ticket.mapped) {
    if (ticket.regions.empty()) add_result(ticket, {}, corner_value(ticket.frame, {}));
    for (const TomeRegion& region : ticket.regions) {
      add_result(ticket, region, corner_value(ticket.frame, region));
    }
  } else {
    add_result(ticket, {}, ticket.last_value);
  }
  for (size_t i = 0; i < ticket.results.size(); ++i) {
    ticket.scores[i].label = ticket.labels[i].c_str();
    ticket.results[i].scores = &ticket.scores[i];
  }
}

void run_one(std::unique_lock<std::mutex>& lock, TomeStream& stream) {
  FakeCore::State& s = state();
  TomeTicket* ticket = stream.queue.front();
  stream.queue.pop_front();
  stream.running = ticket;
  // Not the clock: a busy machine must not decide what a test sees.
  const bool late =
      ticket->deadline > 0 && stream.forwards++ > 0 && stream.model->behaviour.late_after_first;
  const auto duration = std::chrono::milliseconds(late ? 0 : stream.model->behaviour.delay_ms);
  const auto end = std::chrono::steady_clock::now() + duration;
  while (!ticket->cancelled && std::chrono::steady_clock::now() < end) {
    s.changed.wait_until(lock, end);
  }
  s.changed.wait(lock, [&] { return ticket->cancelled || s.gate_open || s.passes > 0; });
  if (!s.gate_open && !ticket->cancelled) --s.passes;
  TomeOutcome outcome = TOME_TICKET_RESULT;
  TomeError failure{};
  if (ticket->cancelled) {
    outcome = TOME_TICKET_CANCELLED;
  } else if (take_failure(s.ticket_failure, &failure) != TOME_OK) {
    outcome = TOME_TICKET_FAILED;
    ticket->status = failure.status;
    ticket->error = failure.message;
  } else if (late) {
    outcome = TOME_TICKET_SKIPPED;
  } else {
    classify(*ticket);
  }
  release_frame(lock, *ticket);
  stream.running = nullptr;
  make_ready(*ticket, outcome);
}

void work(TomeStream* stream) {
  FakeCore::State& s = state();
  std::unique_lock lock(s.mutex);
  while (true) {
    s.changed.wait(lock, [&] { return stream->closing || !stream->queue.empty(); });
    if (stream->queue.empty()) return;
    run_one(lock, *stream);
  }
}

TomeStatus model_acquire(const TomeModelConfig* config, TomeModel** model, TomeError* error) {
  FakeCore::State& s = state();
  const std::scoped_lock lock(s.mutex);
  std::ostringstream seen;
  seen << "model=" << text(config->model) << " labels=" << text(config->labels_file)
       << " device=" << text(config->device) << " precision=" << text(config->precision)
       << " id=" << text(config->instance_id) << " batch=" << config->batch_size
       << " timeout=" << config->batch_timeout_ms << " threads=" << config->threads
       << " clip=" << config->clip_length;
  s.model_config = seen.str();
  if (const TomeStatus status = take_failure(s.acquire_failure, error)) return status;
  *model = std::make_unique<TomeModel>(TomeModel{s.behaviour}).release();
  if (config->clip_length > 0) {
    (*model)->behaviour.clip_length = static_cast<uint32_t>(config->clip_length);
  }
  ++s.models;
  return TOME_OK;
}

void model_release(TomeModel* model) {
  const std::unique_ptr<TomeModel> owned(model);
  run_once(state().at_model_release);
  const std::scoped_lock lock(state().mutex);
  --state().models;
}

void model_info(TomeModel* model, TomeModelInfo* info) {
  *info = {};
  info->name = "fake";
  info->device = model->behaviour.device.c_str();
  info->precision = "fp32";
  info->default_schedule = "13";
  info->classes = 256;
  info->depth = 12;
  info->width = info->height = 224;
  info->clip_length = model->behaviour.clip_length;
  info->tubelet = 1;
  info->tokens = model->behaviour.tokens_in;
  info->is_clip_model = model->behaviour.clip_length > 1 ? 1 : 0;
  const bool on_cuda = model->behaviour.device.starts_with("cuda");
  info->takes_cuda_frames = on_cuda && model->behaviour.takes_cuda_frames ? 1 : 0;
}

int64_t model_longest_wait(TomeModel*) {
  const std::scoped_lock lock(state().mutex);
  return state().behaviour.batch_duration * state().behaviour.round_length;
}

int64_t model_batch_duration(TomeModel* model) {
  const std::scoped_lock lock(state().mutex);
  return state().behaviour.batch_duration;
}

bool bad(const char* schedule) { return std::string(text(schedule)).find("bad") == 0; }

TomeStatus bad_schedule(const char* schedule, TomeError* error) {
  return fill(error, TOME_ERROR_SETTINGS,
              std::string("r schedule '") + schedule + "': it is none (expected a number)");
}

int64_t model_effective_r(TomeModel*, const char* schedule, int64_t*, uint32_t, TomeError* error) {
  if (!bad(schedule)) return 156;
  bad_schedule(schedule, error);
  return -1;
}

TomeStatus stream_open(TomeModel* model, const TomeStreamConfig* config, TomeStream** stream,
                       TomeError* error) {
  FakeCore::State& s = state();
  run_once(s.at_stream_open);
  const std::scoped_lock lock(s.mutex);
  std::ostringstream seen;
  seen << "name=" << text(config->name) << " r=" << text(config->schedule)
       << " attn=" << config->prop_attn << " k=" << config->top_k
       << " threshold=" << config->threshold << " activation=" << config->activation
       << " clip-stride=" << config->clip_stride << " frame-stride=" << config->frame_stride
       << " interval=" << config->inference_interval << " smoothing=" << config->smoothing
       << " static=" << config->static_threshold << " pending=" << config->max_pending;
  s.stream_config = seen.str();
  if (const TomeStatus status = take_failure(s.open_failure, error)) return status;
  if (bad(config->schedule)) return bad_schedule(config->schedule, error);
  s.schedule = config->schedule != nullptr ? config->schedule : "";
  auto made = std::make_unique<TomeStream>();
  made->model = model;
  made->interval = config->inference_interval;
  made->clip_stride = config->clip_stride;
  made->frame_stride = config->frame_stride;
  made->max_pending = config->max_pending;
  made->worker = std::thread(work, made.get());
  *stream = made.release();
  ++s.streams;
  return TOME_OK;
}

void flush_locked(std::unique_lock<std::mutex>& lock, TomeStream& stream) {
  stream.window.clear();
  if (stream.running != nullptr) stream.running->cancelled = true;
  // Out of the worker's sight first, for releasing a frame unlocks.
  const std::deque<TomeTicket*> pending = std::move(stream.queue);
  stream.queue.clear();
  for (TomeTicket* ticket : pending) {
    release_frame(lock, *ticket);
    make_ready(*ticket, TOME_TICKET_CANCELLED);
  }
  state().changed.notify_all();
}

void flush(TomeStream* stream) {
  std::unique_lock lock(state().mutex);
  flush_locked(lock, *stream);
}

void stream_close(TomeStream* stream) {
  const std::unique_ptr<TomeStream> owned(stream);
  {
    std::unique_lock lock(state().mutex);
    flush_locked(lock, *stream);
    stream->closing = true;
    state().changed.notify_all();
  }
  stream->worker.join();
  const std::scoped_lock lock(state().mutex);
  --state().streams;
}

TomeStatus stream_set_schedule(TomeStream*, const char* schedule, TomeError* error) {
  if (bad(schedule)) return bad_schedule(schedule, error);
  const std::scoped_lock lock(state().mutex);
  state().schedule = schedule;
  return TOME_OK;
}

TomeStatus stream_adjust(TomeStream* stream, uint32_t top_k, double threshold, uint32_t interval,
                         TomeError* error) {
  const std::scoped_lock lock(state().mutex);
  std::ostringstream seen;
  seen << "k=" << top_k << " threshold=" << threshold << " interval=" << interval;
  state().adjustment = seen.str();
  if (const TomeStatus status = take_failure(state().adjust_failure, error)) return status;
  if (top_k == 0 || interval == 0 || std::isnan(threshold)) {
    return fill(error, TOME_ERROR_SETTINGS, seen.str());
  }
  stream->interval = interval;
  return TOME_OK;
}

SeenFrame describe(const TomeFrame& frame) {
  SeenFrame seen{frame.format,
                 frame.width,
                 frame.height,
                 frame.pixel_aspect_n,
                 frame.pixel_aspect_d,
                 {},
                 {},
                 frame.matrix,
                 frame.range,
                 frame.memory,
                 frame.device,
                 frame.producer_stream,
                 {},
                 frame.pts,
                 frame.duration,
                 frame.discont != 0,
                 frame.no_inference != 0,
                 frame.deadline,
                 {},
                 {}};
  for (int i = 0; i < 3 && frame.plane[i] != nullptr; ++i) {
    seen.planes.push_back(frame.plane[i]);
    seen.strides.push_back(frame.stride[i]);
    seen.plane_sizes.push_back(frame.plane_size[i]);
    seen.corners.push_back(frame.plane[i][0]);
  }
  seen.regions.assign(frame.regions, frame.regions + frame.n_regions);
  return seen;
}

/// Whether something is due on this frame; keeps the window and the ticket's span.
bool is_due(TomeStream& stream, TomeTicket& ticket) {
  const uint32_t length = stream.model->behaviour.clip_length;
  if (ticket.frame.discont != 0) stream.window.clear();
  ticket.clip_start = ticket.clip_end = ticket.frame.pts;
  if (length > 1) {
    if (stream.frames++ % stream.frame_stride != 0) return false;
    stream.window.push_back(ticket.frame.pts);
    if (stream.window.size() < length) return false;
    ticket.clip_start = stream.window.front();
    ticket.n_frames = length;
    const uint32_t step =
        stream.clip_stride > 0 ? std::max(1U, stream.clip_stride / stream.frame_stride) : length;
    for (uint32_t i = 0; i < step && !stream.window.empty(); ++i) stream.window.pop_front();
  }
  const bool due = stream.since_due == 0 || stream.since_due >= stream.interval;
  stream.since_due = due ? 1 : stream.since_due + 1;
  return due;
}

TomeStatus submit(TomeStream* stream, const TomeFrame* frame, TomeTicket** ticket,
                  TomeError* error) {
  FakeCore::State& s = state();
  run_once(s.at_submit);
  std::unique_lock lock(s.mutex);
  s.frames.push_back(describe(*frame));
  ++s.mapped;
  auto made = std::make_unique<TomeTicket>();
  made->stream = stream;
  made->frame = *frame;
  made->mapped = true;
  if (const TomeStatus status = take_failure(s.submit_failure, error)) {
    release_frame(lock, *made);
    return status;
  }
  made->regions.assign(frame->regions, frame->regions + frame->n_regions);
  made->deadline = frame->deadline;
  stream->last_value = corner_value(*frame, {});
  s.changed.notify_all();
  s.changed.wait(lock, [&] { return stream->pending < stream->max_pending; });
  ++stream->pending;
  ++s.tickets;
  if (!is_due(*stream, *made)) {
    release_frame(lock, *made);
    make_ready(*made, TOME_TICKET_NONE);
  } else if (frame->no_inference != 0) {
    release_frame(lock, *made);
    make_ready(*made, TOME_TICKET_SKIPPED);
  } else {
    stream->queue.push_back(made.get());
  }
  *ticket = made.release();
  s.changed.notify_all();
  return TOME_OK;
}

TomeStatus drain(TomeStream* stream, TomeTicket** ticket, TomeError*) {
  const std::scoped_lock lock(state().mutex);
  ++state().drains;
  const uint32_t length = stream->model->behaviour.clip_length;
  *ticket = nullptr;
  if (length > 1 && stream->window.size() * 2 >= length) {
    auto made = std::make_unique<TomeTicket>();
    made->stream = stream;
    made->clip_start = stream->window.front();
    made->clip_end = stream->window.back();
    made->n_frames = length;
    made->last_value = stream->last_value;
    ++stream->pending;
    ++state().tickets;
    stream->queue.push_back(made.get());
    *ticket = made.release();
  }
  stream->window.clear();
  state().changed.notify_all();
  return TOME_OK;
}

TomeOutcome ticket_wait(TomeTicket* ticket, const TomeResult** results, uint32_t* n_results,
                        TomeError* error) {
  std::unique_lock lock(state().mutex);
  state().changed.wait(lock, [&] { return ticket->ready; });
  *results = ticket->results.data();
  *n_results = static_cast<uint32_t>(ticket->results.size());
  if (ticket->outcome == TOME_TICKET_FAILED) fill(error, ticket->status, ticket->error);
  return ticket->outcome;
}

int ticket_ready(TomeTicket* ticket) {
  const std::scoped_lock lock(state().mutex);
  return ticket->ready ? 1 : 0;
}

void ticket_free(TomeTicket* ticket) {
  const std::scoped_lock lock(state().mutex);
  if (!ticket->ready) {
    ++state().misuses;  // the worker still has it: leaked rather than freed under its feet
    return;
  }
  --state().tickets;
  const std::unique_ptr<TomeTicket> owned(ticket);
}

}  // namespace

const TomeCoreApi kFakeApi = {
    .version = TOME_CORE_API_VERSION,
    .struct_size = sizeof(TomeCoreApi),
    .set_log = [](TomeLogFunction, void*) {},
    .model_acquire = model_acquire,
    .model_release = model_release,
    .model_info = model_info,
    .model_batch_duration = model_batch_duration,
    .model_longest_wait = model_longest_wait,
    .stream_open = stream_open,
    .stream_close = stream_close,
    .stream_set_schedule = stream_set_schedule,
    .stream_adjust = stream_adjust,
    .model_effective_r = model_effective_r,
    .submit = submit,
    .drain = drain,
    .hurry =
        [](TomeStream* stream) {
          {
            const std::scoped_lock lock(state().mutex);
            ++state().hurries;
          }
          if (stream->model->behaviour.batches_fill) FakeCore::instance().open_gate();
        },
    .flush = flush,
    .ticket_wait = ticket_wait,
    .ticket_ready = ticket_ready,
    .ticket_free = ticket_free,
};

}  // namespace tome::testing
