// The controls of the fake core, and its one exported C function.
#include "fake_core.h"

#include <chrono>
#include <utility>

#include "fake_state.h"

namespace tome::testing {

FakeCore::FakeCore() : state_(std::make_unique<State>()) {}

FakeCore& FakeCore::instance() {
  static FakeCore core;
  return core;
}

void FakeCore::reset() {
  State& s = *state_;
  const std::scoped_lock lock(s.mutex);
  s.behaviour = {};
  s.gate_open = true;
  s.passes = 0;
  s.acquire_failure.reset();
  s.open_failure.reset();
  s.submit_failure.reset();
  s.ticket_failure.reset();
  s.adjust_failure.reset();
  s.at_stream_open = s.at_submit = s.at_model_release = nullptr;
  s.frames.clear();
  s.model_config.clear();
  s.stream_config.clear();
  s.schedule.clear();
  s.adjustment.clear();
  s.misuses = s.hurries = s.drains = 0;
  s.changed.notify_all();
}

void FakeCore::set(const FakeBehaviour& behaviour) {
  const std::scoped_lock lock(state_->mutex);
  state_->behaviour = behaviour;
}

void FakeCore::close_gate() {
  const std::scoped_lock lock(state_->mutex);
  state_->gate_open = false;
}

void FakeCore::open_gate() {
  const std::scoped_lock lock(state_->mutex);
  state_->gate_open = true;
  state_->changed.notify_all();
}

void FakeCore::let_one_through() {
  const std::scoped_lock lock(state_->mutex);
  ++state_->passes;
  state_->changed.notify_all();
}

void FakeCore::fail_acquire(TomeStatus status, const std::string& text) {
  const std::scoped_lock lock(state_->mutex);
  state_->acquire_failure = {status, text};
}

void FakeCore::fail_stream_open(TomeStatus status, const std::string& text) {
  const std::scoped_lock lock(state_->mutex);
  state_->open_failure = {status, text};
}

void FakeCore::fail_submit(TomeStatus status, const std::string& text) {
  const std::scoped_lock lock(state_->mutex);
  state_->submit_failure = {status, text};
}

void FakeCore::fail_next_ticket(TomeStatus status, const std::string& text) {
  const std::scoped_lock lock(state_->mutex);
  state_->ticket_failure = {status, text};
}

void FakeCore::fail_adjust(TomeStatus status, const std::string& text) {
  const std::scoped_lock lock(state_->mutex);
  state_->adjust_failure = {status, text};
}

void FakeCore::at_stream_open(std::function<void()> task) {
  const std::scoped_lock lock(state_->mutex);
  state_->at_stream_open = std::move(task);
}

void FakeCore::at_submit(std::function<void()> task) {
  const std::scoped_lock lock(state_->mutex);
  state_->at_submit = std::move(task);
}

void FakeCore::at_model_release(std::function<void()> task) {
  const std::scoped_lock lock(state_->mutex);
  state_->at_model_release = std::move(task);
}

std::vector<SeenFrame> FakeCore::frames() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->frames;
}

std::string FakeCore::model_config() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->model_config;
}

std::string FakeCore::stream_config() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->stream_config;
}

std::string FakeCore::schedule() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->schedule;
}

std::string FakeCore::adjustment() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->adjustment;
}

int FakeCore::models() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->models;
}

int FakeCore::streams() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->streams;
}

int FakeCore::tickets() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->tickets;
}

int FakeCore::mapped_frames() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->mapped;
}

int FakeCore::hurries() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->hurries;
}

int FakeCore::drains() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->drains;
}

int FakeCore::misuses() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->misuses;
}

bool FakeCore::wait_for_frames(size_t n) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, std::chrono::seconds(10),
                                  [&] { return state_->frames.size() >= n; });
}

}  // namespace tome::testing

const TomeCoreApi* tome_core_api(uint32_t version) {
  return version == TOME_CORE_API_VERSION ? &tome::testing::kFakeApi : nullptr;
}
