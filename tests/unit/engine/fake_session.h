// A device whose every step a test controls: what runs, in which batches, and when it returns.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/model_instance.h"
#include "engine/stream.h"

namespace tome::testing {

/// A door that a thread of the engine must pass. Shut doors hold it until the test opens them, and
/// tell the test that somebody stands there: no test waits for time to pass.
class Door {
 public:
  void shut() {
    const std::lock_guard lock(mutex_);
    shut_ = true;
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      shut_ = false;
    }
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrivals_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !shut_; });
  }
  void wait_arrivals(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrivals_ >= n; });
  }
  int arrivals() {
    const std::lock_guard lock(mutex_);
    return arrivals_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool shut_ = false;
  int arrivals_ = 0;
};

struct RanBatch {
  std::vector<std::vector<int>> requests;  // tags of each request's frames
  std::vector<int64_t> r;
  PropAttn prop_attn = PropAttn::kAuto;
  double static_threshold = -1;
};

using Tags = std::vector<int>;

/// Tags of a batch of single frames.
inline Tags tags(const RanBatch& batch) {
  Tags found;
  for (const auto& request : batch.requests) found.push_back(request.back());
  return found;
}

/// What a fake device has seen and shall do. Outlives the session.
struct FakeDevice {
  Door preprocess_door, forward_door;
  std::mutex mutex;
  std::vector<RanBatch> batches;
  std::vector<int> preprocessed;    // tags
  std::vector<Region> regions;      // of pre-processed frames
  std::set<int> bad_frames;         // tags whose pre-processing throws
  std::set<int> bad_requests;       // tags whose forward throws
  std::vector<BatchKey> warmed_up;  // by streams that opened
  bool warm_up_fails = false;
  int64_t most_in_memory = 1 << 30;  // larger batches throw kOutOfMemory
  size_t most_staged = 1 << 30;      // as does pre-processing of more frames
  Clock::duration a_frame_takes{};   // pre-processing, at least
  int sessions_open = 0, sessions_made = 0;

  std::vector<RanBatch> ran() {
    const std::lock_guard lock(mutex);
    return batches;
  }
};

/// Four classes; the logits of a request are 100 for class tag % 4 of its last frame, else 0.
class FakeSession : public DeviceSession {
 public:
  explicit FakeSession(std::shared_ptr<FakeDevice> device) : device_(std::move(device)) {
    const std::lock_guard lock(device_->mutex);
    ++device_->sessions_open;
    ++device_->sessions_made;
  }
  ~FakeSession() override {
    const std::lock_guard lock(device_->mutex);
    --device_->sessions_open;
  }

  void preprocess(std::span<PreprocessJob> jobs) override {
    device_->preprocess_door.pass();
    {
      const std::lock_guard lock(device_->mutex);
      if (jobs.size() > device_->most_staged) {
        throw Error(ErrorKind::kOutOfMemory, "too many pixels");
      }
    }
    for (PreprocessJob& job : jobs) {
      try {
        job.patches = preprocess_one(*job.frame);
      } catch (...) {
        job.error = std::current_exception();
      }
    }
  }

  PatchesPtr preprocess_one(const Frame& frame) override {
    const int tag = *frame.planes[0].data;
    std::this_thread::sleep_for(device_->a_frame_takes);
    const std::lock_guard lock(device_->mutex);
    device_->preprocessed.push_back(tag);
    device_->regions.push_back(frame.region);
    if (device_->bad_frames.contains(tag)) throw Error(ErrorKind::kFormat, "a bad frame");
    return std::make_shared<const Patches>(Patches{at::full({1, 1}, static_cast<float>(tag))});
  }

  BatchOutput forward(const BatchInput& input) override {
    device_->forward_door.pass();
    const std::lock_guard lock(device_->mutex);
    if (input.batch > device_->most_in_memory) {
      throw Error(ErrorKind::kOutOfMemory, "too large a batch");
    }
    RanBatch batch{{}, input.r, input.prop_attn, input.static_threshold};
    BatchOutput output;
    output.classes = 4;
    output.tokens_in = 17;
    output.tokens_out.assign(static_cast<size_t>(input.batch), 9);
    for (int64_t i = 0; i < input.batch; ++i) {
      std::vector<int> tags;
      for (int64_t t = 0; t < input.frames_per_request; ++t) {
        const auto& rows = input.frames[static_cast<size_t>(i * input.frames_per_request + t)];
        tags.push_back(static_cast<int>(rows->rows.item<float>()));
      }
      if (device_->bad_requests.contains(tags.back())) throw std::runtime_error("a bad forward");
      for (int c = 0; c < 4; ++c) output.logits.push_back(tags.back() % 4 == c ? 100.0F : 0.0F);
      batch.requests.push_back(std::move(tags));
    }
    device_->batches.push_back(std::move(batch));
    return output;
  }

 private:
  std::shared_ptr<FakeDevice> device_;
};

inline ModelDescription fake_description(int64_t clip_length) {
  ModelDescription model;
  model.name = "fake";
  model.device = "cpu";
  model.precision = "fp32";
  model.labels = std::make_shared<const std::vector<std::string>>(
      std::vector<std::string>{"zero", "one", "two", "three"});
  model.clip_length = clip_length;
  model.geometry = {2, 17, 1, 8, 32};
  return model;
}

/// @param batch_duration  as warm-up would have measured it
inline ModelOpener fake_opener(std::shared_ptr<FakeDevice> device, int64_t clip_length = 1,
                               Clock::duration batch_duration = {}) {
  return [device = std::move(device), clip_length, batch_duration](const InstanceConfig&) {
    OpenedModel opened;
    opened.description = fake_description(clip_length);
    opened.session.session = std::make_unique<FakeSession>(device);
    opened.session.batch_duration = batch_duration;
    opened.session.warm_up = [device](const BatchKey& key) {
      const std::lock_guard lock(device->mutex);
      device->warmed_up.push_back(key);
      if (device->warm_up_fails) throw Error(ErrorKind::kOutOfMemory, "a bad warm-up");
    };
    return opened;
  };
}

/// A model on a fake device. The timeout is an hour unless a test says otherwise, so a test that
/// passes did not get there by waiting for it.
struct FakeModel {
  explicit FakeModel(uint32_t batch_size, int64_t clip_length = 1, uint32_t timeout_ms = 3'600'000,
                     Clock::duration batch_duration = {}) {
    InstanceConfig config;
    config.model = "fake";
    config.batch_size = batch_size;
    config.batch_timeout_ms = timeout_ms;
    instance =
        std::make_shared<ModelInstance>(config, fake_opener(device, clip_length, batch_duration));
  }
  std::unique_ptr<Stream> stream(const StreamConfig& config = {}) const {
    return std::make_unique<Stream>(instance, config);
  }

  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>();
  std::shared_ptr<ModelInstance> instance;
};

/// A frame of 8 x 8 whose first byte is its tag; `released` is set when its pixels are let go.
inline Frame tagged_frame(int tag, const std::shared_ptr<std::atomic<int>>& released = nullptr) {
  auto pixels = std::make_shared<std::vector<uint8_t>>(64, static_cast<uint8_t>(tag));
  Frame frame;
  frame.format = PixelFormat::kGray8;
  frame.width = frame.height = 8;
  frame.planes[0] = {pixels->data(), 8, pixels->size()};
  if (released == nullptr) {
    frame.keep_alive = pixels;
  } else {
    frame.keep_alive = std::shared_ptr<const void>(
        pixels.get(), [pixels, released](const void*) { released->fetch_add(1); });
  }
  return frame;
}

inline StreamConfig stream_config(uint32_t max_pending, const std::string& schedule = "") {
  StreamConfig config;
  config.max_pending = max_pending;
  config.schedule = schedule;
  return config;
}

inline std::shared_ptr<Ticket> submit(Stream& stream, int tag, const FrameOptions& options = {}) {
  return stream.submit(tagged_frame(tag), options);
}

/// Shuts the door of the forward and sends one request there, so that what is submitted next waits.
inline std::shared_ptr<Ticket> occupy(const FakeModel& model, Stream& stream, int tag = 0) {
  const int before = model.device->forward_door.arrivals();
  model.device->forward_door.shut();
  auto ticket = submit(stream, tag);
  model.device->forward_door.wait_arrivals(before + 1);
  return ticket;
}

}  // namespace tome::testing
