// One element's model and stream in the core, behind C++ ownership.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "classify_settings.h"
#include "engine/c_api.h"

namespace tome::gst {

/// Why something did not work, for GST_ELEMENT_ERROR.
struct Failure {
  TomeStatus status = TOME_ERROR_FAILED;
  std::string text;
};

/// Nothing on success.
using MaybeFailure = std::optional<Failure>;

/// Frees a ticket; one that is not ready yet (its stream was flushed just before) is waited for.
struct TicketRelease {
  const TomeCoreApi* api = nullptr;
  void operator()(TomeTicket* ticket) const;
};
using TicketPtr = std::unique_ptr<TomeTicket, TicketRelease>;

/// What of the settings decides which model is open.
struct ModelRequest {
  std::string folder, labels_file, device, precision, instance_id;
  unsigned batch_size = 0, batch_timeout_ms = 0;
  int threads = 0;
  unsigned clip_length = 0;

  bool operator==(const ModelRequest&) const = default;
};

/// Model and stream of one element. open/close and start/stop are called from state changes,
/// submit and drain from the streaming thread, the others from any.
class CoreSession {
 public:
  CoreSession() = default;
  ~CoreSession();
  CoreSession(const CoreSession&) = delete;
  CoreSession& operator=(const CoreSession&) = delete;

  /// Loads the core if that has not happened yet, acquires the model and checks the r spec. A model
  /// that is open with the same settings stays.
  MaybeFailure open(const Settings& settings);
  void close();

  /// Opens the stream; `depth` is the most tickets in flight.
  MaybeFailure start(const Settings& settings, const std::string& name, uint32_t depth);
  void stop();

  MaybeFailure submit(const TomeFrame& frame, TicketPtr& ticket);
  /// `ticket` stays empty if no window is left to classify.
  MaybeFailure drain(TicketPtr& ticket);
  /// Nothing more is submitted until a ticket is ready: batches do not wait to fill.
  /// No effect when no stream is open.
  void hurry();
  /// Cancels what is pending; no effect when no stream is open.
  void flush();
  /// Top-k, threshold and inference-interval for the stream, if one is open.
  MaybeFailure adjust(const Settings& settings);
  /// Checks the spec and, if a stream is open, makes it its schedule.
  MaybeFailure set_schedule(const std::string& spec);

  /// Whether a model is. For the thread that changes states.
  bool is_open() const { return model_ != nullptr; }
  const TomeCoreApi* api() const { return api_; }
  /// As the core describes the open model. Strings live until close().
  const TomeModelInfo& info() const { return info_; }
  std::string model_name() const { return model_name_; }
  /// Nanoseconds one full batch takes; 0 with no model open.
  int64_t batch_duration() const;
  int64_t longest_wait() const;

 private:
  MaybeFailure load();
  MaybeFailure acquire(const ModelRequest& request);
  MaybeFailure check_schedule(const std::string& spec) const;

  const TomeCoreApi* api_ = nullptr;
  // Held where a state change writes model_ and stream_, and where threads read them that a state
  // change does not wait for: flush, hurry, adjust, set_schedule and the durations. submit and
  // drain do without, since no state change runs while the streaming thread does, unless in it.
  mutable std::mutex mutex_;
  TomeModel* model_ = nullptr;
  TomeStream* stream_ = nullptr;
  TomeModelInfo info_{};
  std::string model_name_;
  ModelRequest opened_;  // what model_ was made for
};

}  // namespace tome::gst
