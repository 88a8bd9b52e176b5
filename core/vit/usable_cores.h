// How many cores the process may use.
#pragma once

namespace tome {

/// The cores that the process is tied to (taskset, cpuset), or the machine's where the system does
/// not say, or OpenMP is told where its threads run; and no more than a container's time comes to,
/// see Note [Control groups]. As it was when first asked: asking the system takes microseconds.
int usable_cores();

}  // namespace tome
