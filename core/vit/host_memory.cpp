#include "vit/host_memory.h"

#include <cstdlib>  // defines __GLIBC__

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace tome {

// Note [Memory kept between forwards]: by default glibc hands large blocks back to the kernel when
// they are freed, so that every forward pays again for pages to be mapped, cleared and faulted in:
// 5 to 25 % of a ViT-Ti's time. Blocks of up to 32 MiB (the most glibc takes) now come from the
// heap, which is given back only where more than 256 MiB at its end are free. The program's own
// settings (MALLOC_TRIM_THRESHOLD_ and the like in the environment) are overridden.
void keep_host_memory() {
#if defined(__GLIBC__)
  static const bool done = [] {
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_TOP_PAD, 16 << 20);
    return true;
  }();
  static_cast<void>(done);
#endif
}

}  // namespace tome
