#include "line_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <ctime>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

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

/// A turn to write, given back at the end of its scope.
class Turn {
 public:
  Turn(OutputTurn& output, const WakeUp& interruption)
      : output_(output), taken_(output.take(interruption)) {
    if (taken_) torn = output.is_torn();
  }
  ~Turn() {
    if (taken_) output_.give_back(torn);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const { return taken_; }

  bool torn = false;

 private:
  OutputTurn& output_;
  bool taken_;
};

constexpr int kReaderLook = 100;  // ms

/// Whether another descriptor of this process is the other end of a pair of sockets. Linux does not
/// say which it is, but numbers both ends one after the other.
bool has_other_end(const struct stat& socket) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    struct stat other {};
    if (::stat(entry.path().c_str(), &other) == 0 && S_ISSOCK(other.st_mode) &&
        (other.st_ino == socket.st_ino + 1 || other.st_ino + 1 == socket.st_ino)) {
      return true;
    }
  }
  return false;
}

/// Also where it was closed as the program began, and a library's own file has got its number
/// since: one that has no kind, as an eventfd, or a socket that leads back here.
bool is_standard_output_closed() {
  struct stat file {};
  if (::fstat(STDOUT_FILENO, &file) != 0 || (file.st_mode & S_IFMT) == 0) return true;
  struct ucred peer {};
  socklen_t size = sizeof(peer);
  return S_ISSOCK(file.st_mode) &&
         ::getsockopt(STDOUT_FILENO, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         peer.pid == ::getpid() && has_other_end(file);
}

}  // namespace

// Note [A reader that stalls stops nobody]
// A write that waits for a reader, as `| less` does, would hold up the streaming thread for good,
// and with it every state change. So descriptors do not block, poll() waits, and an interruption
// (a flush or the way to READY) ends that. The flags of standard output belong to everybody who
// shares it: where it is a pipe or a terminal it is opened anew, for a description with flags of
// its own. Where that fails, and for sockets, at most PIPE_BUF bytes are written when poll() says
// that there is room, which does not block unless somebody else fills it that very moment.

LineWriter::LineWriter(std::string location, bool append, BegunFiles& begun)
    : location_(std::move(location)), append_(append || begun.contains(location_)), begun_(begun) {}

LineWriter::~LineWriter() {
  if (owned_) ::close(descriptor_);
}

void LineWriter::open() {
  if (location_.empty()) {
    open_standard_output();
    return;
  }
  const int error = try_to_open();
  // A named pipe without a reader is opened by the first line, which waits for one.
  if (error != 0 && error != ENXIO) fail("open", GST_RESOURCE_ERROR_OPEN_WRITE, error);
  auto inode = keep_inode();
  const struct stat file = inode->file();
  if (error == ENXIO && !S_ISFIFO(file.st_mode)) {
    fail("open", GST_RESOURCE_ERROR_OPEN_WRITE, error);
  }
  turn_ = OutputTurn::of(std::move(inode), [&] {  // else another's lines would be lost
    if (S_ISREG(file.st_mode)) prepare(file.st_size);
  });
  begun_[location_] = turn_;
}

std::unique_ptr<KeptInode> LineWriter::keep_inode() const {
  try {
    return std::make_unique<KeptInode>(location_);
  } catch (const std::system_error& error) {
    fail("open", GST_RESOURCE_ERROR_OPEN_WRITE, error.code().value());
  }
}

/// Of a file that nobody else here writes to.
void LineWriter::prepare(off_t size) {
  if (!append_) {
    if (::ftruncate(descriptor_, 0) == 0) return;
    fail("empty", GST_RESOURCE_ERROR_OPEN_WRITE, errno);
  }
  // What a crash or a full disk cut would spoil the next line, too.
  if (ends_in_a_line(size)) return;
  if (::write(descriptor_, "\n", 1) != 1) fail("write to", GST_RESOURCE_ERROR_OPEN_WRITE, errno);
}

/// Also where that cannot be found out.
bool LineWriter::ends_in_a_line(off_t size) const {
  if (size == 0) return true;
  const int reader = ::open(location_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (reader < 0) return true;
  char last = '\n';
  const bool is_read = ::pread(reader, &last, 1, size - 1) == 1;
  ::close(reader);
  return !is_read || last == '\n';
}

/// @return errno of the failure, or 0
int LineWriter::try_to_open() {
  // Always O_APPEND: two writers of one file would overwrite each other's lines.
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  descriptor_ = ::open(location_.c_str(), flags, 0666);
  if (descriptor_ < 0) return errno;
  owned_ = non_blocking_ = true;
  return 0;
}

void LineWriter::open_standard_output() {
  struct stat file {};
  if (is_standard_output_closed() || ::fstat(STDOUT_FILENO, &file) != 0) {
    throw PublishError(GST_RESOURCE_ERROR_OPEN_WRITE, "Cannot open standard output: it is closed");
  }
  turn_ = OutputTurn::of_standard_output(file);
  if (S_ISFIFO(file.st_mode) || ::isatty(STDOUT_FILENO) == 1) {
    descriptor_ = ::open("/proc/self/fd/1", O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    owned_ = non_blocking_ = descriptor_ >= 0;
  }
  if (!owned_) descriptor_ = STDOUT_FILENO;
}

void LineWriter::close() {
  const int error = owned_ && ::close(descriptor_) != 0 ? errno : 0;
  owned_ = false;
  descriptor_ = -1;
  if (error != 0) fail("close", GST_RESOURCE_ERROR_CLOSE, error);
}

bool LineWriter::write(const std::string& line) {
  Turn turn(*turn_, interruption_);
  if (!turn || wait_for_reader() == Progress::kInterrupted) return false;
  // A line that an interruption cut must not spoil the next.
  const std::string text = (turn_->is_torn() ? "\n" : "") + line + "\n";
  if (write_all(text, &turn.torn) == Progress::kInterrupted) return false;
  ++written_;
  return true;
}

/// Opens a named pipe that had no reader. Nothing tells when one comes: this looks now and then.
LineWriter::Progress LineWriter::wait_for_reader() {
  while (descriptor_ < 0) {
    const int error = try_to_open();
    if (error != 0 && error != ENXIO) fail("open", GST_RESOURCE_ERROR_OPEN_WRITE, error);
    if (error != 0 && interruption_.wait(kReaderLook)) return Progress::kInterrupted;
  }
  return Progress::kDone;
}

LineWriter::Progress LineWriter::wait_until_writable() const {
  std::array<pollfd, 2> both = {pollfd{descriptor_, POLLOUT, 0},
                                pollfd{interruption_.descriptor(), POLLIN, 0}};
  while (::poll(both.data(), both.size(), -1) < 0 && errno == EINTR) {
  }
  // While there is room, the line is ended all the same. An error shows up in the write.
  return both[0].revents != 0 ? Progress::kDone : Progress::kInterrupted;
}

LineWriter::Progress LineWriter::write_all(std::string_view text, bool* torn) {
  const SigpipeGuard guard;
  while (!text.empty()) {
    if (wait_until_writable() == Progress::kInterrupted) return Progress::kInterrupted;
    const size_t size = non_blocking_ ? text.size() : std::min<size_t>(text.size(), PIPE_BUF);
    const ssize_t written = ::write(descriptor_, text.data(), size);
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
      *torn = !text.empty();
    } else if (errno != EINTR && errno != EAGAIN) {
      const auto code =
          errno == ENOSPC ? GST_RESOURCE_ERROR_NO_SPACE_LEFT : GST_RESOURCE_ERROR_WRITE;
      fail("write to", code, errno);
    }
  }
  return Progress::kDone;
}

void LineWriter::interrupt() {
  interruption_.set();
  if (turn_) turn_->look_again();
}

void LineWriter::resume() { interruption_.clear(); }

void LineWriter::fail(const char* what, GstResourceError code, int error) const {
  const std::string place = location_.empty() ? "standard output" : "'" + location_ + "'";
  throw PublishError(code, std::string("Cannot ") + what + " " + place + ": " +
                               std::generic_category().message(error));
}

}  // namespace tome::gst
