#include "engine/device.h"

#include <ATen/ATen.h>
#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <exception>

#include "engine/batcher.h"
#include "engine/cuda_model.h"
#include "engine/log.h"
#include "never_destroyed.h"
#include "tome_error.h"

namespace tome {
namespace {

/// Empty if LibTorch's CUDA half works here, else why it does not. LibTorch keeps the answer to the
/// first at::hasCUDA() of the process, which its random numbers ask too: the half that answers must
/// have been loaded by then.
std::string probe_libtorch() {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == nullptr) {
    return "no NVIDIA driver (libcuda.so.1) was found";
  }
  // LibTorch's CUDA half registers itself when it is loaded; a build that does not link it can
  // still use it where it lies beside the CPU half.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* reason = dlerror();
    return std::string("LibTorch's CUDA library cannot be loaded: ") +
           (reason != nullptr ? reason : "unknown reason");
  }
  if (!at::hasCUDA()) return "LibTorch finds no usable NVIDIA GPU";
  stop_batchers_at_exit();
  return {};
}

struct LibtorchProbe {
  std::string reason = probe_libtorch();
};

/// Empty if LibTorch's operators run on this device: it may be too old for them, or taken.
std::string why_not_libtorch(int index) {
  if (const std::string& reason = why_no_libtorch_cuda(); !reason.empty()) return reason;
  const auto count = static_cast<int>(at::getNumGPUs());
  if (index >= count) {
    return "this machine has " + std::to_string(count) + " CUDA device(s), cuda:0 first";
  }
  try {
    const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(index));
    at::ones({1}, device).add(1).item<float>();
    return {};
  } catch (const std::exception& error) {
    const std::string text = error.what();
    return "LibTorch cannot use cuda:" + std::to_string(index) + ": " +
           text.substr(0, text.find('\n'));
  }
}

/// Empty if this device can run models. What our kernels are too new for, LibTorch's need not try:
/// models would run there, but not as the documentation says. A build without kernels has LibTorch
/// alone.
std::string why_not(int index) {
  const std::string ours = why_no_cuda_kernels(index);
  if (built_with_cuda()) return ours;
  const std::string theirs = why_not_libtorch(index);
  return theirs.empty() ? theirs : ours + "; " + theirs;
}

/// The device's name, where our kernels know it.
std::string described(int index) {
  const std::string name = cuda_device_name(index);
  return "cuda:" + std::to_string(index) + (name.empty() ? "" : ", " + name);
}

/// How many CUDA devices there are to try; one where none is found, which then says why.
int devices_to_try() {
  if (built_with_cuda()) return cuda_device_count();
  return why_no_libtorch_cuda().empty() ? std::max(1, static_cast<int>(at::getNumGPUs())) : 1;
}

at::Device choose_automatically() {
  const int count = devices_to_try();
  std::string reasons;
  for (int index = 0; index < count; ++index) {
    const std::string reason = why_not(index);
    if (reason.empty()) {
      log(LogLevel::kInfo,
          "device=auto: " + described(index) + (reasons.empty() ? "" : " (not " + reasons + ")"));
      return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
    }
    if (!reasons.empty()) reasons += "; ";
    reasons += count == 1 ? reason : "cuda:" + std::to_string(index) + ": " + reason;
  }
  log(LogLevel::kInfo, "device=auto: the CPU (" + reasons + ")");
  return at::kCPU;
}

}  // namespace

const std::string& why_no_libtorch_cuda() { return never_destroyed<LibtorchProbe>().reason; }

bool is_auto(const std::string& asked) { return asked == "auto" || asked.empty(); }

at::Device choose_device(const std::string& asked) {
  if (asked == "cpu") return at::kCPU;
  if (is_auto(asked)) return choose_automatically();
  int index = 0;
  bool valid = asked == "cuda";
  if (asked.starts_with("cuda:")) {
    const char* end = asked.data() + asked.size();
    const auto [rest, error] = std::from_chars(asked.data() + 5, end, index);
    valid = error == std::errc() && rest == end && index >= 0 && index < 128;
  }
  if (!valid) {
    throw Error(ErrorKind::kSettings,
                "device: found '" + asked + "', expected auto, cpu, cuda or cuda:N");
  }
  if (const std::string reason = why_not(index); !reason.empty()) {
    throw Error(ErrorKind::kDevice, "device: '" + asked + "' is not available: " + reason);
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

std::string device_name(at::Device device) { return device.str(); }

at::ScalarType parse_precision(const std::string& asked, at::Device device) {
  if (is_auto(asked)) return at::ScalarType::Undefined;
  if (asked == "fp32") return at::kFloat;
  if (asked == "bf16") return at::kBFloat16;
  if (asked != "fp16" && asked != "int8") {
    throw Error(ErrorKind::kSettings,
                "precision: found '" + asked + "', expected auto, fp32, bf16, fp16 or int8");
  }
  if (device.is_cpu() && asked == "fp16") {
    throw Error(ErrorKind::kSettings,
                "precision: fp16 needs a GPU; on the CPU expected auto, fp32, bf16 or int8");
  }
  if (!device.is_cpu() && asked == "int8") {
    throw Error(ErrorKind::kSettings,
                "precision: int8 needs the CPU (device=cpu); on a GPU expected auto, bf16, fp16 or "
                "fp32");
  }
  return asked == "int8" ? at::kChar : at::kHalf;
}

std::string precision_name(at::ScalarType precision) {
  if (precision == at::kBFloat16) return "bf16";
  if (precision == at::kChar) return "int8";
  return precision == at::kHalf ? "fp16" : "fp32";
}

bool cpu_has_native_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

}  // namespace tome
