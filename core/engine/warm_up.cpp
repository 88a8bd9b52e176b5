#include "engine/warm_up.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/failure.h"
#include "engine/log.h"
#include "media/frame.h"
#include "tome_error.h"

namespace tome {
namespace {

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

}  // namespace

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

}  // namespace tome
