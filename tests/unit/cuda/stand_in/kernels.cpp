// Kernels of the stand-in, which do nothing, and what nvcc's code calls to register them.
#include "cuda/stand_in/runtime.h"

using namespace tome::testing::stand_in;

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void*, void**) {
  return in_context([&] {
    CUgraphNode_st kernel;
    for (unsigned i = 0; i < config->numAttrs; ++i) {
      const cudaLaunchAttribute& attribute = config->attrs[i];
      kernel.begins_early |= attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization &&
                             attribute.val.programmaticStreamSerializationAllowed != 0;
    }
    return place(config->stream, std::move(kernel));
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  return in_context([&] {
    *attributes = {};
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return in_context([] { return cudaSuccess; });
}

// No header declares these, and their names are nvcc's.
extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}

void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*,
                            void*, int*) {}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void*) { return 0; }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return cudaSuccess; }
cudaError_t __cudaGetKernel(void**, const void*) { return cudaSuccess; }
cudaError_t __cudaLaunchKernel(void*, dim3, dim3, void**, size_t, cudaStream_t) {
  return in_context([] { return cudaSuccess; });
}

}  // extern "C"
