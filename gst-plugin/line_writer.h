// Whole lines to a file, a pipe or standard output.
#pragma once

#include <string>

namespace tome::gst {

/// Writes line by line, each at once, so that a reader never waits for half a line. Lines of
/// several writers to standard output do not mix.
class LineWriter {
 public:
  LineWriter() = default;
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  /// Opens `location` for writing, emptied unless `append`; empty: standard output.
  /// @return errno of the failure, or 0
  int open(const std::string& location, bool append);
  /// @return errno of the failure (delayed write errors show up here), or 0
  int close();
  /// Writes `line` and a line end. A reader that has gone is EPIPE here, not a signal.
  /// @return errno of the failure, or 0
  int write(const std::string& line);

 private:
  int descriptor_ = -1;
  bool owned_ = false;
};

}  // namespace tome::gst
