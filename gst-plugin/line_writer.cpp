#include "line_writer.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <mutex>
#include <string_view>

namespace tome::gst {
namespace {

// Note [A closed pipe is an error, not a signal]
// Writing to a pipe without a reader raises SIGPIPE, which ends the process by default. A plugin
// may not change the process's signal handling, so the signal is blocked in the writing thread for
// the time of the write, and taken off again if this write raised it.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~SigpipeGuard() {
    if (!was_pending_) {
      const timespec at_once{};
      while (sigtimedwait(&pipe_, nullptr, &at_once) == -1 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

LineWriter::~LineWriter() { close(); }

int LineWriter::open(const std::string& location, bool append) {
  close();
  if (location.empty()) {
    descriptor_ = STDOUT_FILENO;
    return 0;
  }
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC);
  descriptor_ = ::open(location.c_str(), flags, 0666);
  if (descriptor_ < 0) return errno;
  owned_ = true;
  return 0;
}

int LineWriter::close() {
  int error = 0;
  if (owned_ && ::close(descriptor_) != 0) error = errno;
  owned_ = false;
  descriptor_ = -1;
  return error;
}

int LineWriter::write(const std::string& line) {
  static std::mutex standard_output;
  std::unique_lock<std::mutex> lock(standard_output, std::defer_lock);
  if (!owned_) lock.lock();
  const SigpipeGuard guard;
  return write_all(descriptor_, line + "\n");
}

}  // namespace tome::gst
