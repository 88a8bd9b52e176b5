#include "checkpoint/replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <optional>
#include <string>
#include <system_error>

#include "tome_error.h"

namespace tome {
namespace {

namespace fs = std::filesystem;

// Note [Files that are being written]
// NAME.part<process>-<number>, so that nobody else's bytes get in. A kill leaves one, which the
// next save removes: its process is gone. In a container processes have the same few numbers again
// and again, so one with our own number is removed, too, if it is older than this process and none
// that we have written since, and else passed over. One of another machine's or container's process
// may be taken for a leftover; then that save ends with an error, and never with half a file.
constexpr int kMostNumbers = 10'000;
const time_t process_began = ::time(nullptr);

std::atomic<unsigned> next_number{0};

struct Part {
  pid_t process = 0;
  unsigned number = 0;

  std::string of(const std::string& name) const {
    return name + ".part" + std::to_string(process) + "-" + std::to_string(number);
  }
};

// Of a name that Part::of() writes for `name`; none for any other, as those that split(1) gives.
std::optional<Part> part_of(const std::string& found, const std::string& name) {
  const std::string begin = name + ".part";
  if (!found.starts_with(begin)) return std::nullopt;
  const char* end = found.data() + found.size();
  Part part;
  const auto [dash, wrong] = std::from_chars(found.data() + begin.size(), end, part.process);
  if (wrong != std::errc{} || dash == end || *dash != '-') return std::nullopt;
  if (std::from_chars(dash + 1, end, part.number).ec != std::errc{}) return std::nullopt;
  if (part.process <= 0 || found != part.of(name)) return std::nullopt;
  return part;
}

// Whether the process that wrote `file` is.
bool is_gone(const Part& part, const fs::path& file) {
  if (part.process != getpid()) return ::kill(part.process, 0) != 0 && errno == ESRCH;
  if (part.number < next_number) return false;  // clocks of other machines' disks may be behind
  struct stat found {};
  return ::lstat(file.c_str(), &found) == 0 && found.st_mtime < process_began;
}

void remove_leftovers(const fs::path& folder, const std::string& name) {
  std::error_code error;  // what cannot be listed or removed is left
  for (fs::directory_iterator it(folder, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    const auto part = part_of(it->path().filename().string(), name);
    if (part && is_gone(*part, it->path())) ::unlink(it->path().c_str());
  }
}

class PartialFile {
 public:
  explicit PartialFile(const fs::path& path)
      : path_(path), folder_(path.has_parent_path() ? path.parent_path() : ".") {
    remove_leftovers(folder_, path.filename().string());
    for (int i = 0; i < kMostNumbers; ++i) {
      partial_ = folder_ / Part{getpid(), next_number++}.of(path.filename().string());
      fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ >= 0) return;
      if (errno != EEXIST) break;
    }
    fail(errno);
  }
  ~PartialFile() {
    if (!renamed_) ::unlink(partial_.c_str());
    ::close(fd_);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

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

  // The bytes reach the disk before the name does, where the file system knows of such an order.
  void finish() {
    if (::fsync(fd_) != 0 && errno != EINVAL) fail(errno);
    if (::rename(partial_.c_str(), path_.c_str()) != 0) fail(errno);
    renamed_ = true;
    const int fd = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    ::fsync(fd);  // where that fails, a power cut may bring back the old file, which is whole, too
    ::close(fd);
  }

 private:
  [[noreturn]] void fail(int error) const {
    throw Error(ErrorKind::kFailed,
                path_.string() + ": cannot be written: " + std::generic_category().message(error));
  }

  fs::path path_, folder_, partial_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace

void replace_file(const fs::path& path, const std::function<void(const ByteSink&)>& write) {
  PartialFile file(path);
  write([&](const void* bytes, size_t size) { file.write(bytes, size); });
  file.finish();
}

}  // namespace tome
