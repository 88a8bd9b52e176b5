// Inside of the fake core.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fake_core.h"

struct TomeTicket {
  TomeStream* stream = nullptr;
  bool ready = false, cancelled = false;
  TomeOutcome outcome = TOME_TICKET_NONE;
  std::string error;
  TomeStatus status = TOME_OK;
  TomeFrame frame{};  // until released
  bool mapped = false;
  std::vector<TomeRegion> regions;
  int64_t clip_start = -1, clip_end = -1, deadline = 0;
  uint32_t n_frames = 1;
  uint8_t last_value = 0;  // of a drained window
  std::vector<std::string> labels;
  std::vector<TomeScore> scores;
  std::vector<TomeResult> results;
};

struct TomeModel {
  tome::testing::FakeBehaviour behaviour;
};

struct TomeStream {
  TomeModel* model = nullptr;
  uint32_t interval = 1, clip_stride = 0, frame_stride = 1, max_pending = 0;
  uint64_t frames = 0, since_due = 0, forwards = 0;
  std::deque<int64_t> window;  // timestamps
  uint8_t last_value = 0;
  std::deque<TomeTicket*> queue;  // waiting for the worker
  TomeTicket* running = nullptr;
  uint32_t pending = 0;
  bool closing = false;
  std::thread worker;
};

namespace tome::testing {

struct Planned {
  TomeStatus status;
  std::string text;
};

struct FakeCore::State {
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  FakeBehaviour behaviour;
  bool gate_open = true;
  int passes = 0;  // forwards that may end although the gate is closed
  std::optional<Planned> acquire_failure, open_failure, submit_failure, ticket_failure,
      adjust_failure;
  std::function<void()> at_stream_open, at_submit, at_model_release;  // once
  std::vector<SeenFrame> frames;
  std::string model_config, stream_config, schedule, adjustment;
  int models = 0, streams = 0, tickets = 0, mapped = 0, misuses = 0, hurries = 0, drains = 0;
};

/// The table of functions, in fake_streams.cpp.
extern const TomeCoreApi kFakeApi;

}  // namespace tome::testing
