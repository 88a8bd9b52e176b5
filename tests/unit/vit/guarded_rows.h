// Rows of numbers for tests of kernels, which must write no byte beside them.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

#include "vit/cpu_kernels.h"
#include "vit/cpu_memory.h"

namespace tome::testing {

/// Rows of numbers in the middle of bytes that make no number and are not to be written.
class Rows {
 public:
  Rows(int64_t rows, int64_t row_bytes)
      : stride((row_bytes + 127) / 64 * 64),
        rows_(rows),
        row_bytes_(row_bytes),
        memory_((rows + 1) * stride) {
    std::fill_n(memory_.at<uint8_t>(), (rows + 1) * stride, kGarbage);
  }
  /// Rounded to elements.
  Rows(const CpuKernels& kernels, const at::Tensor& values)
      : Rows(values.size(0), values.size(1) * kernels.element_bytes) {
    const at::Tensor numbers = values.to(kernels.bf16 ? at::kBFloat16 : at::kFloat).contiguous();
    fill(numbers);
  }
  /// @param bytes  of a number
  explicit Rows(const at::Tensor& numbers, int64_t bytes = 4)
      : Rows(numbers.size(0), numbers.size(1) * bytes) {
    fill(numbers.contiguous());
  }

  char* at(int64_t row = 0) const { return memory_.at(row * stride); }
  at::Tensor read(at::ScalarType type) const {
    const auto bytes = static_cast<int64_t>(at::elementSize(type));
    return at::from_blob(at(), {rows_, stride / bytes}, at::dtype(type))
        .narrow(1, 0, row_bytes_ / bytes)
        .to(at::kDouble);
  }
  bool untouched_outside() const {
    const auto is_garbage = [](uint8_t byte) { return byte == kGarbage; };
    for (int64_t row = 0; row <= rows_; ++row) {
      const auto* begin = memory_.at<uint8_t>(row * stride);
      if (!std::all_of(begin + (row < rows_ ? row_bytes_ : 0), begin + stride, is_garbage)) {
        return false;
      }
    }
    return true;
  }

  const int64_t stride;

 private:
  static constexpr uint8_t kGarbage = 0xFF;

  void fill(const at::Tensor& numbers) {
    const auto* from = static_cast<const char*>(numbers.const_data_ptr());
    for (int64_t row = 0; row < rows_; ++row) {
      std::copy_n(from + row * row_bytes_, row_bytes_, at(row));
    }
  }

  int64_t rows_, row_bytes_;
  CpuBuffer memory_;
};

}  // namespace tome::testing
