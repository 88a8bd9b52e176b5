// The one exception type of the core, with the kind of failure that a caller can act on.
#pragma once

#include <stdexcept>
#include <string>

namespace tome {

/// What went wrong, coarse enough that a caller can map it (to a GStreamer error domain, an exit
/// status, a retry) and fine enough to act on.
enum class ErrorKind {
  kNotFound,     ///< a file or folder is not there
  kRead,         ///< it is there but cannot be read, or is truncated
  kFormat,       ///< its content is not what its format or the model asks for
  kSettings,     ///< a property, option or argument makes no sense
  kDevice,       ///< the device is missing, too old or lost
  kOutOfMemory,  ///< the device or the host has too little memory
  kFailed,       ///< anything else
};

/// The core's own errors; allocation and ATen's own checks may throw std::bad_alloc and c10::Error.
/// The text names the file or property, what was found, and what was expected.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace tome
