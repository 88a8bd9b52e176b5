// Whole lines to a file, a pipe or standard output.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "output_turn.h"
#include "publish_backend.h"
#include "wake_up.h"

namespace tome::gst {

/// Writes line by line, each at once, so that a reader never waits for half a line. Lines of
/// several writers of this process to one file, pipe or terminal do not mix. A reader that does not
/// read holds write() up until it is interrupted, and nothing else.
class LineWriter : public PublishBackend {
 public:
  /// Of `location`, emptied when opened unless it is in `begun`, another writer of this process has
  /// it, or `append`, which ends a line that was left without an end; empty: standard output.
  /// @param begun  gets the file when it is opened, and outlives open()
  LineWriter(std::string location, bool append, BegunFiles& begun);
  ~LineWriter() override;

  void open() override;
  /// A reader that has gone is an error here, not a signal.
  bool write(const std::string& line) override;
  void close() override;
  void interrupt() override;
  void resume() override;
  PublishCounts counts() const override { return {.published = written_}; }

 private:
  enum class Progress { kDone, kInterrupted };

  int try_to_open();
  std::unique_ptr<KeptInode> keep_inode() const;
  void prepare(off_t size);
  bool ends_in_a_line(off_t size) const;
  void open_standard_output();
  Progress wait_for_reader();
  Progress wait_until_writable() const;
  Progress write_all(std::string_view text, bool* torn);
  [[noreturn]] void fail(const char* what, GstResourceError code, int error) const;

  const std::string location_;
  const bool append_;
  BegunFiles& begun_;
  WakeUp interruption_;
  std::shared_ptr<OutputTurn> turn_;
  int descriptor_ = -1;
  bool owned_ = false;
  bool non_blocking_ = false;
  std::atomic<uint64_t> written_ = 0;
};

}  // namespace tome::gst
