#include "core_alone.h"

#include <gst/video/video.h>

#include <chrono>
#include <map>
#include <stdexcept>
#include <vector>

namespace tome::bench {
namespace {

using Clock = std::chrono::steady_clock;

TomePixelFormat core_format(const std::string& name) {
  static const std::map<std::string, TomePixelFormat> kFormats{{"NV12", TOME_FORMAT_NV12},
                                                               {"I420", TOME_FORMAT_I420},
                                                               {"RGB", TOME_FORMAT_RGB},
                                                               {"BGRx", TOME_FORMAT_BGRX},
                                                               {"YUY2", TOME_FORMAT_YUY2}};
  return kFormats.at(name);
}

void check(TomeStatus status, const TomeError& error) {
  if (status != TOME_OK) throw std::runtime_error(error.message);
}

}  // namespace

/// A frame in memory, described as the core takes it. Points into itself: never moved.
struct CoreAlone::HeldFrame {
  HeldFrame(const RawSource& source, int index) : data(read_frame(source, index)) {
    GstVideoInfo info;
    gst_video_info_set_format(&info, gst_video_format_from_string(source.format.c_str()),
                              static_cast<guint>(source.width), static_cast<guint>(source.height));
    frame.format = core_format(source.format);
    frame.width = source.width;
    frame.height = source.height;
    for (guint plane = 0; plane < GST_VIDEO_INFO_N_PLANES(&info) && plane < 3; ++plane) {
      const size_t offset = GST_VIDEO_INFO_PLANE_OFFSET(&info, plane);
      frame.plane[plane] = data.data() + offset;
      frame.stride[plane] = GST_VIDEO_INFO_PLANE_STRIDE(&info, plane);
      frame.plane_size[plane] = data.size() - offset;
    }
    frame.matrix = source.height > 576 ? TOME_MATRIX_BT709 : TOME_MATRIX_BT601;
    frame.range = TOME_RANGE_LIMITED;
    frame.pts = frame.duration = -1;
    frame.release = [](void*) {};
  }
  HeldFrame(const HeldFrame&) = delete;
  HeldFrame& operator=(const HeldFrame&) = delete;
  std::vector<uint8_t> data;
  TomeFrame frame{};
};

CoreAlone::CoreAlone(const StreamOptions& options)
    : api_(tome_core_api(TOME_CORE_API_VERSION)),
      batch_size_(options.batch_size),
      n_sources_(options.sources.size()) {
  if (api_ == nullptr) throw std::runtime_error("the core has another version");
  TomeError error{};
  TomeModelConfig config{};
  config.model = options.model.c_str();
  config.device = options.device.c_str();
  config.precision = options.precision.c_str();
  config.batch_size = static_cast<uint32_t>(options.batch_size);
  config.batch_timeout_ms = static_cast<uint32_t>(options.batch_timeout_ms);
  check(api_->model_acquire(&config, &model_, &error), error);
  TomeStreamConfig stream_config{};
  stream_config.schedule = options.schedule.c_str();
  stream_config.top_k = 5;
  stream_config.clip_stride = 0;
  stream_config.frame_stride = stream_config.inference_interval = 1;
  stream_config.max_pending = static_cast<uint32_t>(4 * options.batch_size);
  check(api_->stream_open(model_, &stream_config, &stream_, &error), error);
  for (const RawSource& source : options.sources) {
    for (int i = 0; i < source.count; ++i) held_.emplace_back(source, i);
  }
}

CoreAlone::~CoreAlone() {
  api_->flush(stream_);
  for (TomeTicket* ticket : pending_) {
    const TomeResult* results = nullptr;
    uint32_t count = 0;
    TomeError error{};
    api_->ticket_wait(ticket, &results, &count, &error);
    api_->ticket_free(ticket);
  }
  api_->stream_close(stream_);
  api_->model_release(model_);
}

void CoreAlone::finish_one() {
  const TomeResult* results = nullptr;
  uint32_t count = 0;
  TomeError error{};
  const TomeOutcome outcome = api_->ticket_wait(pending_.front(), &results, &count, &error);
  api_->ticket_free(pending_.front());
  pending_.pop_front();
  if (outcome == TOME_TICKET_FAILED) throw std::runtime_error(error.message);
}

void CoreAlone::submit_one() {
  // Sources take turns, one frame each, as their streams would.
  const size_t per_source = held_.size() / n_sources_;
  const size_t source = submitted_ % n_sources_;
  const size_t index = submitted_ / n_sources_ % per_source;
  TomeError error{};
  TomeTicket* ticket = nullptr;
  check(api_->submit(stream_, &held_[source * per_source + index].frame, &ticket, &error), error);
  pending_.push_back(ticket);
  ++submitted_;
  if (pending_.size() > 2U * static_cast<size_t>(batch_size_)) finish_one();
}

void CoreAlone::measure(double seconds) {
  for (int i = 0; i < 4 * batch_size_; ++i) submit_one();
  const size_t before = submitted_;
  const auto begin = Clock::now();
  double elapsed = 0;
  // Whole batches, so that the last one is not counted in part.
  while (elapsed < seconds) {
    for (int i = 0; i < batch_size_; ++i) submit_one();
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  frames_ += submitted_ - before;
  seconds_ += elapsed;
  while (!pending_.empty()) finish_one();
}

}  // namespace tome::bench
