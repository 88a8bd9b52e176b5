// Streams, events, page-locked memory and asynchronous copies of a CUDA device, each owned by an
// object. No CUDA header.
#pragma once

#include <cstddef>
#include <utility>

#include "cuda/on_device.h"
#include "cuda/types.h"

struct CUctx_st;
struct CUevent_st;

namespace tome::cuda {

/// How many devices there are. @throws Error kDevice as open_device does
int device_count();

/// The calling thread's. @throws Error kDevice, for `what`
int current_device(const char* what = "asking for the current device");

/// Makes a device the calling thread's current one. At the end the thread has the driver's context
/// again that it had before, its own or a device's, or none. Meanwhile other threads may capture:
/// by CUDA's default this one could not allocate then, and would end what they capture.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index);  ///< @throws Error kDevice
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  static constexpr int kUnchanged = -1;
  CUctx_st* before_ = nullptr;
  int capture_mode_ = kUnchanged;  ///< the thread's before, if that permitted less
};

/// A stream of the current device that does not wait for the default stream.
class OwnedStream {
 public:
  OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  Stream get() const { return stream_.get(); }

 private:
  OnDevice<CUstream_st> stream_;
};

/// A point in a stream of the current device.
class Event {
 public:
  enum class Kind { kOrder, kTiming };
  explicit Event(Kind kind = Kind::kOrder);

  void record(Stream stream);
  /// What is enqueued on `stream` from now on begins after this point; the host does not wait.
  void hold_back(Stream stream) const;
  /// Both: what is enqueued on `then` from now on begins after what is on `first` now.
  void order(Stream first, Stream then) {
    record(first);
    hold_back(then);
  }
  /// Milliseconds from `earlier` to here; both of kTiming, and passed.
  double milliseconds_since(const Event& earlier) const;

 private:
  OnDevice<CUevent_st> event_;
};

/// Page-locked host memory, which copies in the background need.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  /// @throws Error kOutOfMemory that says how much was asked, for `what`
  PinnedMemory(size_t bytes, const char* what);
  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::move(other.data_)), bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    data_.swap(other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  unsigned char* data() const { return static_cast<unsigned char*>(data_.get()); }
  size_t bytes() const { return bytes_; }

 private:
  OnDevice<void> data_;
  size_t bytes_ = 0;
};

/// Enqueued, not waited for; host memory is page-locked. @throws Error kDevice
void copy_to_device(void* to, const void* from, size_t bytes, Stream stream);
void copy_to_host(void* to, const void* from, size_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, size_t bytes, Stream stream);
/// Slices of rows: row i of slice j lies `slice_pitch * j + pitch * i` bytes from the start, where
/// slices are a multiple of the pitch apart.
struct Slices {
  void* start = nullptr;
  size_t pitch = 0, slice_pitch = 0;
};
/// `rows` rows of `bytes` each in `slices` slices.
void copy_rows_on_device(const Slices& to, const Slices& from, size_t bytes, size_t rows,
                         size_t slices, Stream stream);
void clear_on_device(void* memory, size_t bytes, Stream stream);

}  // namespace tome::cuda
