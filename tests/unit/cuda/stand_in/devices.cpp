// Devices, contexts and errors of the stand-in: runtime and driver.
#include <cstdio>
#include <cstring>

#include "cuda/stand_in/runtime.h"
#include "never_destroyed.h"

namespace tome::testing::stand_in {

Runtime& runtime() { return never_destroyed<Runtime>(); }

Thread& this_thread() {
  thread_local Thread thread;
  return thread;
}

Machine& machine() { return runtime().machine; }
void* context() { return this_thread().context; }
void set_context(void* context) { this_thread().context = context; }
int last_error() { return this_thread().last; }
void set_last_error(int error) { this_thread().last = static_cast<cudaError_t>(error); }

int device_of_this_thread() {
  const Thread& thread = this_thread();
  if (thread.context == nullptr) return thread.device;
  for (const Context& own : runtime().contexts) {
    if (&own == thread.context) return own.device;
  }
  return 0;  // an application's own
}

Device& current_device_state() {
  return machine().devices[static_cast<size_t>(device_of_this_thread())];
}

cudaError_t enter() {
  Thread& thread = this_thread();
  if (thread.context == nullptr) {
    ++machine().counts.contexts_unasked;
    const auto device = static_cast<size_t>(thread.device);
    thread.context = &runtime().contexts[device];
    machine().devices[device].has_context = true;
  }
  return static_cast<cudaError_t>(current_device_state().lost);
}

cudaError_t destroy(void* object) {
  Failures& failures = machine().failures;
  if (failures.frees > 0) {
    --failures.frees;
    return cudaErrorInvalidValue;
  }
  auto& objects = runtime().objects;
  const auto found = objects.find(object);
  if (found == objects.end() || found->second.device != device_of_this_thread()) {
    ++machine().counts.destroyed_elsewhere;
  }
  if (found == objects.end()) return cudaErrorInvalidValue;
  machine().devices[static_cast<size_t>(found->second.device)].used -= found->second.bytes;
  --machine().counts.live;
  objects.erase(found);
  return cudaSuccess;
}

namespace {

int get_context(void** current) {
  *current = context();
  return 0;
}

int make_current(void* wanted) {
  set_context(wanted);
  return 0;
}

/// What every call says where there is no driver that the runtime works with.
cudaError_t driver_error() {
  return machine().driver_version < kRuntimeVersion ? cudaErrorInsufficientDriver : cudaSuccess;
}

}  // namespace
}  // namespace tome::testing::stand_in

using namespace tome::testing::stand_in;

cudaError_t cudaGetLastError() { return std::exchange(this_thread().last, cudaSuccess); }

const char* cudaGetErrorName(cudaError_t error) {
  thread_local char name[32];
  std::snprintf(name, sizeof(name), "error %d", static_cast<int>(error));
  return name;
}

const char* cudaGetErrorString(cudaError_t) { return "as the test has it"; }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine().driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  return locked([&] {
    const cudaError_t driver = driver_error();
    const cudaError_t status =
        driver != cudaSuccess ? driver : static_cast<cudaError_t>(machine().count_error);
    *count = status == cudaSuccess ? kDevices : 0;
    return status;
  });
}

cudaError_t cudaGetDevice(int* device) {
  *device = device_of_this_thread();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return locked([&] {
    if (driver_error() != cudaSuccess) return driver_error();
    if (device < 0 || device >= kDevices) return cudaErrorInvalidDevice;
    Device& chosen = machine().devices[static_cast<size_t>(device)];
    this_thread().device = device;
    this_thread().context = &runtime().contexts[static_cast<size_t>(device)];
    if (chosen.cannot_be_chosen != 0) return static_cast<cudaError_t>(chosen.cannot_be_chosen);
    chosen.has_context = true;
    return static_cast<cudaError_t>(chosen.lost);
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  std::memset(properties, 0, sizeof(*properties));
  std::snprintf(properties->name, sizeof(properties->name), "Stand-in %d", device);
  const Device& asked = machine().devices[static_cast<size_t>(device)];
  properties->major = asked.major;
  properties->minor = asked.minor;
  properties->totalGlobalMem = asked.capacity;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = machine().devices[static_cast<size_t>(device)].major;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    default:
      return answer(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** call, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  *call = nullptr;
  if (std::strcmp(name, "cuCtxGetCurrent") == 0) *call = reinterpret_cast<void*>(&get_context);
  if (std::strcmp(name, "cuCtxSetCurrent") == 0) *call = reinterpret_cast<void*>(&make_current);
  *result = *call != nullptr ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
