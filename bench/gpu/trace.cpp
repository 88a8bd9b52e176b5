// Writes down when each kernel of a CUDA program began and ended, those of its graphs too, by
// CUPTI's activity records. The driver loads it into a program that is run with
// CUDA_INJECTION64_PATH=build/bench/libgpu_trace.so; TOME_TRACE names the file. timeline.py reads
// it.
//
// A line to each kernel, in no order: begin and end in nanoseconds, stream, blocks, threads of a
// block, name. What a kernel costs more for being recorded is in the gaps between kernels.
#include <cupti.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

// The names, and who owns a buffer, are those of CUPTI's C interface.
// NOLINTBEGIN(cppcoreguidelines-owning-memory, cppcoreguidelines-no-malloc)
// NOLINTBEGIN(readability-identifier-naming, concurrency-mt-unsafe)
namespace {

struct Close {
  void operator()(FILE* file) const { std::fclose(file); }
};

std::unique_ptr<FILE, Close>& output() {
  static std::unique_ptr<FILE, Close> file;
  return file;
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* most_records) {
  constexpr size_t kBytes = size_t{8} << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(ACTIVITY_RECORD_ALIGNMENT, kBytes));
  *bytes = *buffer == nullptr ? 0 : kBytes;
  *most_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer,
                          size_t /*bytes*/, size_t valid_bytes) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
    std::fprintf(output().get(), "%llu %llu %u %d %d %s\n",
                 static_cast<unsigned long long>(kernel->start),
                 static_cast<unsigned long long>(kernel->end), kernel->streamId,
                 kernel->gridX * kernel->gridY * kernel->gridZ,
                 kernel->blockX * kernel->blockY * kernel->blockZ, kernel->name);
  }
  std::free(buffer);
}

void finish() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  output().reset();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  const char* path = std::getenv("TOME_TRACE");
  if (path == nullptr) return 1;
  output().reset(std::fopen(path, "w"));
  if (output() == nullptr) {
    std::perror(path);
    return 0;
  }
  if (cuptiActivityRegisterCallbacks(give_buffer, take_buffer) != CUPTI_SUCCESS ||
      cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) != CUPTI_SUCCESS) {
    std::fputs("gpu_trace: CUPTI records no kernels here\n", stderr);
    return 0;
  }
  std::atexit(finish);
  return 1;
}
// NOLINTEND(readability-identifier-naming, concurrency-mt-unsafe)
// NOLINTEND(cppcoreguidelines-owning-memory, cppcoreguidelines-no-malloc)
