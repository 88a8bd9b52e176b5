// How a thread that waits on a descriptor is woken.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

namespace tome::gst {

/// A flag that poll() can wait for. Any thread may set and clear it.
class WakeUp {
 public:
  WakeUp() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  ~WakeUp() { ::close(descriptor_); }
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;

  /// Readable while the flag is set.
  int descriptor() const { return descriptor_; }
  void set() const {
    const uint64_t one = 1;
    // It fails only where the counter is full, and then the flag is set.
    [[maybe_unused]] const auto written = ::write(descriptor_, &one, sizeof one);
  }
  void clear() const {
    uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(descriptor_, &count, sizeof count);
  }
  bool is_set() const { return wait(0); }
  /// Until the flag is set, at most so long. @return whether it is
  bool wait(int milliseconds) const {
    pollfd flag{descriptor_, POLLIN, 0};
    return ::poll(&flag, 1, milliseconds) > 0;
  }

 private:
  int descriptor_;
};

}  // namespace tome::gst
