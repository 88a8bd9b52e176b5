// cuBLASLt of the stand-in, and what keeps a machine's own CUDA libraries out: the program is
// linked with --wrap for dlopen and dlsym, so the core's calls of these come here.
#include "cuda/cublas_lt.h"

#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "cuda/stand_in/runtime.h"

namespace tome::testing::stand_in {
namespace {

namespace lt = cuda::lt;

constexpr lt::Status kExecutionFailed = 13;
constexpr int kAlgorithms = 3;

struct Opaque {
  int unused = 0;
};

lt::Status status_of(cudaError_t error) {
  return error == cudaSuccess ? lt::kSuccess : kExecutionFailed;
}

lt::Status make(void** object) {
  *object = std::make_unique<Opaque>().release();
  return lt::kSuccess;
}

lt::Status drop(void* object) {
  const std::unique_ptr<Opaque> mine(static_cast<Opaque*>(object));
  return lt::kSuccess;
}

lt::Status create(lt::Handle* handle) {
  return status_of(in_context([&] {
    *handle = own(std::make_shared<Opaque>());
    return cudaSuccess;
  }));
}

lt::Status destroy_handle(lt::Handle handle) {
  return status_of(in_context([&] { return destroy(handle); }));
}

lt::Status create_desc(lt::MatmulDesc* desc, int, int) { return make(desc); }
lt::Status create_layout(lt::Layout* layout, int, uint64_t, uint64_t, int64_t) {
  return make(layout);
}
lt::Status set_attribute(void*, int, const void*, size_t) { return lt::kSuccess; }

lt::Status guess(lt::Handle, lt::MatmulDesc, lt::Layout, lt::Layout, lt::Layout, lt::Layout,
                 lt::Preference, int wanted, lt::HeuristicResult* results, int* found) {
  *found = std::min(wanted, kAlgorithms);
  for (int i = 0; i < *found; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<uint64_t>(i) + 1;
  }
  return lt::kSuccess;
}

lt::Status check_algorithm(lt::Handle, lt::MatmulDesc, lt::Layout, lt::Layout, lt::Layout,
                           lt::Layout, const lt::Algo* algo, lt::HeuristicResult* result) {
  *result = {};
  result->algo = *algo;
  return lt::kSuccess;
}

/// As the real one: the kernel hands out its tiles by a counter, which a memset clears before it.
cudaError_t enqueue_product(void* workspace, cuda::Stream stream) {
  auto* counter = static_cast<uint32_t*>(workspace);
  cudaMemsetParams clearing{};
  clearing.dst = counter;
  clearing.elementSize = sizeof(*counter);
  clearing.width = clearing.height = 1;
  const cudaError_t status = place(stream, memset_of(clearing));
  if (status != cudaSuccess) return status;
  return place(stream, {cudaGraphNodeTypeKernel, [counter] {
                          if (std::exchange(*counter, 1U) != 0) ++machine().counts.uncleared;
                        }});
}

lt::Status multiply(lt::Handle, lt::MatmulDesc, const void*, const void*, lt::Layout, const void*,
                    lt::Layout, const void*, const void*, lt::Layout, void*, lt::Layout,
                    const lt::Algo*, void* workspace, size_t, cuda::Stream stream) {
  const std::lock_guard lock(runtime().mutex);
  Failures& failures = machine().failures;
  Device& device = current_device_state();
  if (failures.lost_in_product != 0) device.lost = std::exchange(failures.lost_in_product, 0);
  // The library's own runtime fails, so the core's has no last error of it.
  if (device.lost != 0) return kExecutionFailed;
  if (failures.product_status != 0 && failures.products_before-- <= 0) {
    return failures.product_status;
  }
  return status_of(enqueue_product(workspace, stream));
}

size_t version() { return 130000; }

template <class F>
void* address(F* function) {
  return reinterpret_cast<void*>(function);
}

const std::map<std::string, void*>& calls() {
  static const std::map<std::string, void*> calls{
      {"cublasLtCreate", address(&create)},
      {"cublasLtDestroy", address(&destroy_handle)},
      {"cublasLtMatmulDescCreate", address(&create_desc)},
      {"cublasLtMatmulDescDestroy", address(&drop)},
      {"cublasLtMatmulDescSetAttribute", address(&set_attribute)},
      {"cublasLtMatrixLayoutCreate", address(&create_layout)},
      {"cublasLtMatrixLayoutDestroy", address(&drop)},
      {"cublasLtMatmulPreferenceCreate", address(&make)},
      {"cublasLtMatmulPreferenceDestroy", address(&drop)},
      {"cublasLtMatmulPreferenceSetAttribute", address(&set_attribute)},
      {"cublasLtMatmulAlgoGetHeuristic", address(&guess)},
      {"cublasLtMatmulAlgoCheck", address(&check_algorithm)},
      {"cublasLtMatmul", address(&multiply)},
      {"cublasLtGetVersion", address(&version)},
  };
  return calls;
}

int library = 0;  // its address is the handle

}  // namespace
}  // namespace tome::testing::stand_in

using namespace tome::testing;

extern "C" {

void* __real_dlopen(const char* file, int mode);
void* __real_dlsym(void* library, const char* name);

void* __wrap_dlopen(const char* file, int mode) {
  const std::string name = file == nullptr ? "" : file;
  if (name.ends_with("libcublasLt.so.13")) return &stand_in::library;
  // Without a driver, LibTorch's CUDA half is not loaded: its devices would be real ones.
  if (name == "libcuda.so.1") return nullptr;
  return __real_dlopen(file, mode);
}

void* __wrap_dlsym(void* library, const char* name) {
  if (library != &stand_in::library) return __real_dlsym(library, name);
  const auto found = stand_in::calls().find(name);
  return found == stand_in::calls().end() ? nullptr : found->second;
}

}  // extern "C"
