#include "quiet_decoders.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <mutex>

namespace tome::cli {
namespace {

/// The one state that all QuietDecoders share, as they share the descriptor.
struct Silence {
  std::mutex mutex;
  int depth = 0;
  int saved = -1;
};

Silence& silence() {
  static Silence shared;
  return shared;
}

}  // namespace

void open_standard_files() {
  for (const int file : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest that is free is the one asked for. To read alone: results that nobody would get
    // stay an error.
    if (fcntl(file, F_GETFD) < 0) open("/dev/null", O_RDONLY);
  }
}

QuietDecoders::QuietDecoders() {
  Silence& shared = silence();
  const std::lock_guard lock(shared.mutex);
  if (shared.depth++ > 0) return;
  shared.saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (shared.saved >= 0 && nowhere >= 0) dup2(nowhere, STDERR_FILENO);
  if (nowhere >= 0) close(nowhere);
}

QuietDecoders::~QuietDecoders() {
  Silence& shared = silence();
  const std::lock_guard lock(shared.mutex);
  if (--shared.depth > 0 || shared.saved < 0) return;
  dup2(shared.saved, STDERR_FILENO);
  close(shared.saved);
  shared.saved = -1;
}

OwnStderr::OwnStderr() : file_(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)) {
  // Without one there is no stderr, or no descriptor left: then std::cerr stays what it is.
  if (file_ >= 0) before_ = std::cerr.rdbuf(this);
}

OwnStderr::~OwnStderr() {
  if (file_ < 0) return;
  std::cerr.rdbuf(before_);
  close(file_);
}

OwnStderr::int_type OwnStderr::overflow(int_type c) {
  if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
  const char letter = traits_type::to_char_type(c);
  return xsputn(&letter, 1) == 1 ? c : traits_type::eof();
}

std::streamsize OwnStderr::xsputn(const char* text, std::streamsize count) {
  std::streamsize done = 0;
  while (done < count) {
    const ssize_t written = write(file_, text + done, static_cast<size_t>(count - done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += written;
  }
  return done;
}

}  // namespace tome::cli
