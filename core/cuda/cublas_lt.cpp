#include "cuda/cublas_lt.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "cuda/device.h"
#include "tome_error.h"

namespace tome::cuda::lt {
namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";

/// Where LibTorch has its CUDA libraries: those of a wheel are beside it, those of an archive with
/// it.
std::vector<std::string> places_of_libtorch() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &info) == 0) return {};
  const auto folder = std::filesystem::path(info.dli_fname).parent_path();
  std::vector<std::string> places;
  for (const char* libraries : {"../../nvidia/cu13/lib", "."}) {
    const auto place = folder / libraries / kLibrary;
    std::error_code ignored;
    if (std::filesystem::exists(place, ignored)) places.push_back(place.string());
  }
  return places;
}

void* open_library() {
  // LibTorch's own first: its CUDA half, which may be loaded later, takes what the process has by
  // this name, and its cuBLAS fits no other version.
  std::vector<std::string> places = places_of_libtorch();
  places.insert(places.end(), {kLibrary, std::string("/usr/local/cuda/lib64/") + kLibrary});
  std::string reason;
  for (const std::string& place : places) {
    if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* said = dlerror();
    if (reason.empty() && said != nullptr) reason = said;
  }
  throw Error(ErrorKind::kDevice, "CUDA: cuBLASLt cannot be loaded (" + reason +
                                      "); it comes with LibTorch for CUDA and with the toolkit");
}

template <class F>
void bind(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) {
    throw Error(ErrorKind::kDevice, std::string("CUDA: ") + kLibrary + " has no " + name);
  }
}

Functions load() {
  void* library = open_library();
  Functions f{};
  bind(library, "cublasLtCreate", f.create);
  bind(library, "cublasLtDestroy", f.destroy);
  bind(library, "cublasLtMatmulDescCreate", f.matmul_desc_create);
  bind(library, "cublasLtMatmulDescDestroy", f.matmul_desc_destroy);
  bind(library, "cublasLtMatmulDescSetAttribute", f.matmul_desc_set);
  bind(library, "cublasLtMatrixLayoutCreate", f.layout_create);
  bind(library, "cublasLtMatrixLayoutDestroy", f.layout_destroy);
  bind(library, "cublasLtMatmulPreferenceCreate", f.preference_create);
  bind(library, "cublasLtMatmulPreferenceDestroy", f.preference_destroy);
  bind(library, "cublasLtMatmulPreferenceSetAttribute", f.preference_set);
  bind(library, "cublasLtMatmulAlgoGetHeuristic", f.heuristic);
  bind(library, "cublasLtMatmulAlgoCheck", f.algo_check);
  bind(library, "cublasLtMatmul", f.matmul);
  bind(library, "cublasLtGetVersion", f.version);
  return f;
}

}  // namespace

const Functions& functions() {
  static const Functions loaded = load();
  return loaded;
}

void check(Status status, const std::string& what) {
  if (status == kSuccess) return;
  const bool memory = status == kAllocFailed;
  throw Error(memory ? ErrorKind::kOutOfMemory : ErrorKind::kDevice,
              what + ": cuBLAS status " + std::to_string(status) +
                  (memory ? " (allocation failed)" : "") + device_report());
}

}  // namespace tome::cuda::lt
