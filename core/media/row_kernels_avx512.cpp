// Inner loops for this instruction set: none in this build.
#include "media/row_kernels.h"
namespace tome {
const RowKernels* avx512_row_kernels() { return nullptr; }
}  // namespace tome
