#include "engine/log.h"

#include <mutex>
#include <utility>

#include "never_destroyed.h"

namespace tome {
namespace {

struct Log {
  std::mutex mutex;
  LogSink sink;
};

Log& the_log() { return never_destroyed<Log>(); }

}  // namespace

void set_log_sink(LogSink sink) {
  const std::lock_guard lock(the_log().mutex);
  the_log().sink = std::move(sink);
}

void log(LogLevel level, const std::string& text) {
  const std::lock_guard lock(the_log().mutex);
  if (the_log().sink) the_log().sink(level, text);
}

}  // namespace tome
