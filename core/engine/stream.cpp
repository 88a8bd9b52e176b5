#include "engine/stream.h"

#include <cmath>
#include <utility>

#include "engine/log.h"
#include "media/pixel_layout.h"
#include "media/region_clip.h"
#include "tome_error.h"

namespace tome {
namespace {

[[noreturn]] void refuse(const std::string& setting, const std::string& found,
                         const std::string& expected) {
  throw Error(ErrorKind::kSettings, setting + ": found " + found + ", expected " + expected);
}

void check(const StreamAdjustment& wanted) {
  if (wanted.top_k == 0) refuse("top-k", "0", "at least 1");
  if (wanted.inference_interval == 0) refuse("inference-interval", "0", "at least 1");
  if (std::isnan(wanted.threshold)) refuse("threshold", "NaN", "a number");
}

void check_config(const StreamConfig& config) {
  check(config);
  if (config.frame_stride == 0) refuse("frame-stride", "0", "at least 1");
  if (!(config.smoothing >= 0 && config.smoothing < 1)) {
    refuse("smoothing", std::to_string(config.smoothing), "at least 0 and less than 1");
  }
  if (std::isnan(config.static_threshold)) refuse("tome-static", "NaN", "grey levels");
}

std::shared_ptr<Ticket> settled_ticket(Outcome outcome) {
  auto ticket = std::make_shared<Ticket>();
  ticket->complete(outcome);
  return ticket;
}

bool is_late(const FrameOptions& options) {
  return options.no_inference || (options.deadline && *options.deadline <= Clock::now());
}

}  // namespace

std::optional<Region> cut_region(const Region& region, int32_t width, int32_t height) {
  if (region.x == 0 && region.y == 0 && region.width == 0 && region.height == 0) return region;
  const auto inside =
      clip_to_frame({region.x, region.y, region.width, region.height}, width, height);
  if (!inside) return std::nullopt;
  return Region{static_cast<int32_t>(inside->x), static_cast<int32_t>(inside->y),
                static_cast<int32_t>(inside->width), static_cast<int32_t>(inside->height)};
}

Stream::Stream(std::shared_ptr<ModelInstance> model, const StreamConfig& config)
    : model_(std::move(model)), config_(config), asked_(config), now_(config) {
  check_config(config_);
  const ModelDescription& description = model_->description();
  BatchKey key{model_->resolve(config_.schedule), config_.prop_attn, config_.static_threshold};
  if (description.clip_length > 1) {
    WindowOptions options;
    options.length = description.clip_length;
    options.frame_stride = config_.frame_stride;
    options.stride =
        config_.clip_stride != 0 ? config_.clip_stride : options.length * options.frame_stride;
    options.interval = config_.inference_interval;
    windows_.emplace(options);
  }
  const size_t bound = config_.max_pending != 0 ? config_.max_pending
                                                : 2 * model_->batcher().limits().batch_size +
                                                      static_cast<size_t>(description.clip_length);
  // Before it opens, which may take seconds and have the log say more.
  log(LogLevel::kInfo,
      "opening stream " + (config_.name.empty() ? "without a name" : config_.name) + " of " +
          description.name + ": schedule " +
          (config_.schedule.empty() ? description.default_schedule : config_.schedule));
  const ScoreOptions scoring{config_.activation.value_or(description.activation),
                             config_.smoothing};
  queue_ = model_->batcher().open_stream(bound, scoring, std::move(key));
}

Stream::~Stream() { model_->batcher().close_stream(queue_); }

std::shared_ptr<Ticket> Stream::submit(Frame frame, const FrameOptions& options) {
  check_not_empty(frame);
  if (is_clip() && options.regions) {
    refuse("inference-region", "regions of a clip",
           "the full frame, or a model with clip-length 1");
  }
  const std::optional<uint64_t> epoch = model_->batcher().wait_for_room(*queue_);
  if (!epoch) {
    frame = Frame{};
    return settled_ticket(Outcome::kCancelled);
  }
  enter_epoch(*epoch);
  take_adjustment();
  return is_clip() ? submit_to_window(std::move(frame), options, *epoch)
                   : submit_frame(std::move(frame), options, *epoch);
}

void Stream::enter_epoch(uint64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  ++generation_;
  due_frames_ = {};
  if (windows_) windows_->reset();
}

std::shared_ptr<Ticket> Stream::submit_frame(Frame frame, const FrameOptions& options,
                                             uint64_t epoch) {
  if (options.discont) ++generation_;
  const bool due = due_frames_.next(now_.inference_interval);
  if (!due || is_late(options)) {
    frame = Frame{};
    return settled_ticket(due ? Outcome::kSkipped : Outcome::kNone);
  }
  const std::shared_ptr<Task> task = new_task(options);
  Classification result;
  result.clip_start_pts = result.clip_end_pts = options.pts;
  if (!options.regions) {
    task->regions.push_back(Region{});
    task->results.push_back(result);
  } else {
    task->full_frame = false;
    for (const Region& region : *options.regions) {
      const std::optional<Region> inside = cut_region(region, frame.width, frame.height);
      if (!inside) continue;
      task->regions.push_back(*inside);
      result.region = region;
      task->results.push_back(result);
    }
  }
  if (task->regions.empty()) {
    frame = Frame{};
    return settled_ticket(Outcome::kResult);
  }
  task->frame = std::move(frame);
  return queue(task, epoch);
}

// Note [Frames of a window are pre-processed where they come in]
// A frame inside a window leaves at once: it neither waits for the worker, which may be in the
// middle of a forward, nor does the window keep its pixels. So the submitting thread pre-processes
// it, alone and without OpenMP.
std::shared_ptr<Ticket> Stream::submit_to_window(Frame frame, const FrameOptions& options,
                                                 uint64_t epoch) {
  if (options.discont) {
    windows_->reset();
    ++generation_;
  }
  PatchesPtr patches;
  const TimePoint started = Clock::now();
  try {
    if (windows_->advance()) patches = model_->batcher().preprocess_one(frame);
  } catch (...) {
    windows_->reset();
    throw;
  }
  frame = Frame{};
  const double preprocess_ms = milliseconds(Clock::now() - started);
  std::optional<Window> window = windows_->push(std::move(patches), options.pts);
  if (!window) return settled_ticket(Outcome::kNone);
  if (is_late(options)) return settled_ticket(Outcome::kSkipped);
  return submit_window(*std::move(window), options, epoch, preprocess_ms);
}

std::shared_ptr<Ticket> Stream::submit_window(Window window, const FrameOptions& options,
                                              uint64_t epoch, double preprocess_ms) {
  const std::shared_ptr<Task> task = new_task(options);
  Classification result;
  result.clip_start_pts = window.start_pts;
  result.clip_end_pts = window.end_pts;
  result.frames = window.real_frames;
  result.preprocess_ms = preprocess_ms;
  task->clip = std::move(window.frames);
  task->regions.push_back(Region{});
  task->results.push_back(std::move(result));
  return queue(task, epoch);
}

std::shared_ptr<Task> Stream::new_task(const FrameOptions& options) const {
  auto task = std::make_shared<Task>();
  task->stream = queue_;
  task->ticket = std::make_shared<Ticket>();
  task->deadline = options.deadline;
  task->generation = generation_;
  task->limits = {now_.top_k, now_.threshold};
  return task;
}

std::shared_ptr<Ticket> Stream::queue(const std::shared_ptr<Task>& task, uint64_t epoch) {
  std::shared_ptr<Ticket> ticket = task->ticket;
  model_->batcher().submit(task, epoch);
  return ticket;
}

std::shared_ptr<Ticket> Stream::drain() {
  std::shared_ptr<Ticket> ticket;
  const uint64_t epoch = model_->batcher().epoch(*queue_);
  enter_epoch(epoch);
  take_adjustment();
  if (windows_) {
    std::optional<Window> window = windows_->drain();
    if (window) ticket = submit_window(std::move(*window), FrameOptions{}, epoch, 0);
    ++generation_;
  }
  model_->batcher().end(*queue_);
  return ticket;
}

void Stream::hurry() { model_->batcher().hurry(*queue_); }

void Stream::flush() { model_->batcher().flush(*queue_); }

void Stream::set_schedule(const std::string& spec) {
  model_->batcher().set_key(
      *queue_, BatchKey{model_->resolve(spec), config_.prop_attn, config_.static_threshold});
}

void Stream::adjust(const StreamAdjustment& adjustment) {
  check(adjustment);
  const std::lock_guard lock(adjusting_);
  asked_ = adjustment;
}

void Stream::take_adjustment() {
  const std::lock_guard lock(adjusting_);
  now_ = asked_;
  if (windows_) windows_->set_interval(now_.inference_interval);
}

}  // namespace tome
