#pragma once

namespace tome {

/// Lets the process keep the memory that forwards on the CPU free, once for all of it: see
/// Note [Memory kept between forwards]. Where the C library is not glibc, nothing happens.
void keep_host_memory();

}  // namespace tome
