// Where the lines of tomepublish go: a file, an MQTT broker or Kafka.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "publish_settings.h"

namespace tome::gst {

class OutputTurn;

/// What ends the stream; the text says what was found and what was expected.
class PublishError : public std::runtime_error {
 public:
  PublishError(GstResourceError code, const std::string& text)
      : std::runtime_error(text), code_(code) {}
  GstResourceError code() const { return code_; }

 private:
  GstResourceError code_;
};

/// What became of the lines.
struct PublishCounts {
  uint64_t published = 0;  ///< written, or taken by the broker
  uint64_t dropped = 0;    ///< pushed out of a full queue by newer ones
  uint64_t lost = 0;       ///< refused by the broker, or given up when the element stopped
  uint64_t queued = 0;     ///< still on their way
};

/// Hears, in any thread, and in several at once, what the user should know although the stream goes
/// on. It may call the backend, also close(), and may outlive it by the call that is in progress.
using PublishWarning = std::function<void(const std::string&)>;

class PublishBackend {
 public:
  PublishBackend() = default;
  virtual ~PublishBackend() = default;
  PublishBackend(const PublishBackend&) = delete;
  PublishBackend& operator=(const PublishBackend&) = delete;

  /// Waits for nobody, however absent the other side is. @throws PublishError
  virtual void open() = 0;
  /// @return false if interrupt() came before the line was written @throws PublishError
  virtual bool write(const std::string& line) = 0;
  /// At the end of the stream: waits, not for ever, for lines that are still on their way.
  virtual void finish() {}
  /// @throws PublishError where delayed errors show up
  virtual void close() = 0;

  /// Ends the waiting in write() and finish(), and that of later calls until resume(). Any thread.
  virtual void interrupt() = 0;
  virtual void resume() = 0;

  virtual PublishCounts counts() const = 0;
};

/// The files that one element began, by location: it empties none of them again, nor does another
/// element as long as the turn is kept.
using BegunFiles = std::map<std::string, std::shared_ptr<OutputTurn>>;

/// The one that `settings.method` names. @throws PublishError if it was not built in, or if
/// something is set that it does not have
/// @param begun  outlives the backend's open()
std::shared_ptr<PublishBackend> make_backend(const PublishSettings& settings,
                                             PublishWarning warning, BegunFiles& begun);

}  // namespace tome::gst
