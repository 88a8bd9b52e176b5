// A CUDA runtime and cuBLASLt that stand in for the real ones, so that what the core asks of them
// is tested where there is no GPU: drivers and devices that are too old, contexts by thread, who
// destroys what where, memory that runs out, which work waits for which, captures and their graphs,
// lost devices. Device memory is the host's, streams are done at once, kernels and products compute
// nothing. Tests say here what shall fail, and read what was done; no other thread may be in a call
// meanwhile.
#pragma once

#include <array>
#include <cstddef>

namespace tome::testing::stand_in {

constexpr int kDevices = 2;
constexpr size_t kCapacity = size_t{1} << 30;
/// CUDA's numbers: 1000 * major + 10 * minor.
constexpr int kRuntimeVersion = 13000;

struct Device {
  size_t capacity = kCapacity, used = 0;
  bool has_context = false;  ///< the one that all runtimes share was made: on a real one, memory
  int lost = 0;              ///< CUDA's error that every call on it answers with
  int cannot_be_chosen = 0;  ///< CUDA's error that cudaSetDevice answers with
  int major = 9, minor = 0;  ///< compute capability
};

/// How many of these calls fail from now on, and with which of CUDA's errors or cuBLAS's statuses.
struct Failures {
  int frees = 0;
  int captures = 0;
  int replays = 0, replay_error = 0;
  int product_status = 0;   ///< of every product but those
  int products_before = 0;  ///< which still succeed
  int lost_in_product = 0;  ///< the error by which the next product loses its device
};

/// What was done so far.
struct Counts {
  int live = 0;                 ///< memory, streams, events, graphs, handles: not destroyed yet
  int graphs = 0;               ///< those of them that can be launched
  int contexts_unasked = 0;     ///< made current by CUDA, for a call of a thread without one
  int destroyed_elsewhere = 0;  ///< with another device current, or twice
  int default_stream = 0;       ///< work there
  int captures_ended = 0;       ///< by a call of another thread
  int failed_allocations = 0;
  size_t refused = 0, left = 0;  ///< bytes that the last of them asked for, and that were free
  int replays = 0;
  int uncleared = 0;  ///< products whose counter of tiles was not zero
};

struct Machine {
  std::array<Device, kDevices> devices;
  int driver_version = kRuntimeVersion;  ///< 0: there is no driver
  int count_error = 0;                   ///< CUDA's error that asking for the devices answers with
  Failures failures;
  Counts counts;
};
Machine& machine();

/// The driver's context of the calling thread, null for none. An application's own is any address.
void* context();
void set_context(void* context);
/// The runtime's last error on the calling thread, which the next call that asks is given.
int last_error();
void set_last_error(int error);

}  // namespace tome::testing::stand_in
