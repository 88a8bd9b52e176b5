// Which device and which precision: from what the user asked to what this machine has.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace tome {

/// `auto` (the first CUDA device that can run models, else the CPU; the log says which at INFO
/// level, and why none of those before it), `cpu`, `cuda` (the first), `cuda:N`.
/// @throws Error kSettings for another word, kDevice with the reason if CUDA was asked for and is
///   not to be had
at::Device choose_device(const std::string& asked);

/// True for `auto`, which an empty text is too.
bool is_auto(const std::string& asked);

/// Empty if LibTorch's operators run on CUDA here, else why they do not. Loads LibTorch's CUDA half
/// if it is there.
const std::string& why_no_libtorch_cuda();

/// "cpu", "cuda:0"
std::string device_name(at::Device device);

/// `fp32`, `bf16`, `fp16`, `int8` (at::kChar), and `auto`, which is kUndefined: the caller measures
/// or decides.
/// @throws Error kSettings for another word, for fp16 on the CPU and int8 on a GPU
at::ScalarType parse_precision(const std::string& asked, at::Device device);

/// "fp32", "bf16", "fp16", "int8"
std::string precision_name(at::ScalarType precision);

/// True if this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX).
bool cpu_has_native_bf16();

}  // namespace tome
