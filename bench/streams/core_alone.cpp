#include "core_alone.h"

#include <gst/video/video.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <stdexcept>

#include "engine/c_api.h"

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

/// A frame in memory, described as the core takes it. Points into itself: never moved.
struct HeldFrame {
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

void check(TomeStatus status, const TomeError& error) {
  if (status != TOME_OK) throw std::runtime_error(error.message);
}

}  // namespace

CoreFigures measure_core_alone(const StreamOptions& options) {
  const TomeCoreApi* api = tome_core_api(TOME_CORE_API_VERSION);
  if (api == nullptr) throw std::runtime_error("the core has another version");
  TomeError error{};
  TomeModelConfig config{};
  config.model = options.model.c_str();
  config.device = "cpu";
  config.precision = "auto";
  config.batch_size = static_cast<uint32_t>(options.batch_size);
  config.batch_timeout_ms = static_cast<uint32_t>(options.batch_timeout_ms);
  TomeModel* model = nullptr;
  check(api->model_acquire(&config, &model, &error), error);
  TomeStreamConfig stream_config{};
  stream_config.schedule = options.schedule.c_str();
  stream_config.top_k = 5;
  stream_config.clip_stride = 0;
  stream_config.frame_stride = stream_config.inference_interval = 1;
  stream_config.max_pending = static_cast<uint32_t>(4 * options.batch_size);
  TomeStream* stream = nullptr;
  check(api->stream_open(model, &stream_config, &stream, &error), error);

  std::deque<HeldFrame> frames;
  for (const RawSource& source : options.sources) {
    for (int i = 0; i < source.count; ++i) frames.emplace_back(source, i);
  }
  std::deque<TomeTicket*> pending;
  const auto finish_one = [&] {
    const TomeResult* results = nullptr;
    uint32_t count = 0;
    const TomeOutcome outcome = api->ticket_wait(pending.front(), &results, &count, &error);
    api->ticket_free(pending.front());
    pending.pop_front();
    if (outcome == TOME_TICKET_FAILED) throw std::runtime_error(error.message);
  };
  // Sources take turns, one frame each, as their streams would.
  const size_t per_source = frames.size() / options.sources.size();
  size_t submitted = 0;
  const auto submit_one = [&] {
    const size_t source = submitted % options.sources.size();
    const size_t index = submitted / options.sources.size() % per_source;
    TomeTicket* ticket = nullptr;
    check(api->submit(stream, &frames[source * per_source + index].frame, &ticket, &error), error);
    pending.push_back(ticket);
    ++submitted;
    if (pending.size() > 2U * static_cast<size_t>(options.batch_size)) finish_one();
  };
  for (int i = 0; i < 4 * options.batch_size; ++i) submit_one();
  const size_t before = submitted;
  const auto begin = Clock::now();
  const double seconds = std::clamp(options.seconds / 3, 2.0, 10.0);
  double elapsed = 0;
  while (elapsed < seconds) {
    submit_one();
    elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
  }
  CoreFigures figures;
  figures.frames_per_s = static_cast<double>(submitted - before) / elapsed;
  while (!pending.empty()) finish_one();
  figures.batch_ms = static_cast<double>(api->model_batch_duration(model)) / 1e6;
  api->stream_close(stream);
  api->model_release(model);
  return figures;
}

}  // namespace tome::bench
