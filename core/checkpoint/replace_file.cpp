#include "checkpoint/replace_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "tome_error.h"

namespace tome {
namespace {

namespace fs = std::filesystem;

class PartialFile {
 public:
  explicit PartialFile(const fs::path& path) : path_(path), partial_(path) {
    partial_ += ".part";
    do {
      close();
      fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
      if (fd_ < 0) fail(errno);
      lock();
    } while (!is_still_named());
  }
  ~PartialFile() {
    if (!renamed_) ::unlink(partial_.c_str());
    close();
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  // Of what a kill left.
  void clear() {
    if (::ftruncate(fd_, 0) != 0) fail(errno);
  }

  void write(const void* bytes, size_t size) {
    const auto* next = static_cast<const char*>(bytes);
    while (size > 0) {
      const ssize_t written = ::write(fd_, next, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(errno);
      next += written;
      size -= static_cast<size_t>(written);
    }
  }

  // The bytes reach the disk before the name does.
  void finish() {
    if (::fsync(fd_) != 0 || ::rename(partial_.c_str(), path_.c_str()) != 0) {
      fail(errno);
    }
    renamed_ = true;
    const fs::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    ::fsync(fd);  // where that fails, a power cut may bring back the old file, which is whole, too
    ::close(fd);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kFailed, path_.string() + ": cannot be written: " + why);
  }
  [[noreturn]] void fail(int error) const { refuse(std::generic_category().message(error)); }

  // Against a second process, whose bytes would mix with ours. A file system without locks has none
  // to lose.
  void lock() {
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
    close();
    refuse("another is writing it (" + partial_.string() + " is locked)");
  }

  // Whoever had the lock before us may have renamed the file since we opened it.
  bool is_still_named() const {
    struct stat ours {};
    struct stat named {};
    return ::fstat(fd_, &ours) == 0 && ::stat(partial_.c_str(), &named) == 0 &&
           ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
  }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  fs::path path_, partial_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace

void replace_file(const fs::path& path, const std::function<void(const ByteSink&)>& write) {
  PartialFile file(path);
  file.clear();
  write([&](const void* bytes, size_t size) { file.write(bytes, size); });
  file.finish();
}

}  // namespace tome
