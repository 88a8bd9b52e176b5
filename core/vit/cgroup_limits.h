// What the control groups of a process, as a container's is, leave of its machine.
#pragma once

#include <cstdint>
#include <filesystem>

namespace tome {

/// Note [Control groups]: a container shows all of its machine's cores and memory, and its group
/// holds the process to less: to a time of all cores together, beyond which threads stop, and to
/// bytes, beyond which the process is killed. What a group may use, its parents bound as well.
/// Read here as version 2 and version 1 of Linux name them.

/// The cores that the time of the process's groups comes to, rounded up, at least 1; INT_MAX where
/// nothing bounds it.
/// @param root  the folder with proc/ and sys/
int quota_cores(const std::filesystem::path& root = "/");

/// Bytes that the process may still take without any other having to give some back, of the machine
/// and of its groups; 0 where the system does not say. Files that are kept in memory and were not
/// read lately count as free.
uint64_t available_memory(const std::filesystem::path& root = "/");

}  // namespace tome
