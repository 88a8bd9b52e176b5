#include "vit/usable_cores.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "vit/cgroup_limits.h"

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>

#include <array>
#endif

namespace tome {
namespace {

int cores_of_the_machine() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

int tied_cores() {
#if defined(__linux__)
  // By one of these OpenMP ties the first thread to a core as soon as it is loaded, and nobody
  // knows any more what the process may use.
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"}) {
    if (std::getenv(name) != nullptr) return cores_of_the_machine();
  }
  // One set holds 1024 cores. Of the process's first thread: whoever asks first may be tied to a
  // core of its own.
  std::array<cpu_set_t, 16> sets{};
  if (sched_getaffinity(getpid(), sizeof(sets), sets.data()) == 0) {
    return std::max(1, CPU_COUNT_S(sizeof(sets), sets.data()));
  }
#endif
  return cores_of_the_machine();
}

}  // namespace

int usable_cores() {
  static const int cores = std::min(tied_cores(), quota_cores());
  return cores;
}

}  // namespace tome
