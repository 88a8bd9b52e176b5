// Messages of the core, handed to whoever embeds it.
#pragma once

#include <functional>
#include <string>

namespace tome {

enum class LogLevel { kError, kWarning, kInfo, kDebug };

using LogSink = std::function<void(LogLevel, const std::string&)>;

/// Process-wide; an empty sink silences. When it returns, the sink before is no longer called.
void set_log_sink(LogSink sink);

void log(LogLevel level, const std::string& text);

}  // namespace tome
