// Ctrl-C that lets a long piece of work come to a good end.
#pragma once

namespace tome::cli {

/// While it lives, the first SIGINT or SIGTERM is only noted; a second one ends the process as
/// ever. One at a time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool received() const;
  /// Ends the process as the signal that was noted would have: a shell sees what it was.
  [[noreturn]] void end_process() const;
};

}  // namespace tome::cli
