#include "checkpoint/tensor_reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <sstream>

#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + (shape[i] < 0 ? "any" : std::to_string(shape[i]));
  }
  return text + "]";
}

bool fits(const std::vector<int64_t>& found, const std::vector<int64_t>& expected) {
  if (found.size() != expected.size()) return false;
  for (size_t i = 0; i < found.size(); ++i) {
    if (expected[i] >= 0 ? found[i] != expected[i] : found[i] < 1) return false;
  }
  return true;
}

// In infinities and NaN alone every bit of the exponent is set; then the sum carries into the sign.
// An or of integers, unlike a sum or a maximum of floats, becomes vector instructions and loses
// nothing.
bool all_finite(const float* values, int64_t count) {
  uint32_t seen = 0;
  for (int64_t i = 0; i < count; ++i) {
    seen |= (std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFFU) + 0x00800000U;
  }
  return seen < 0x80000000U;
}

// "1e+300 at place 3": the first of `values` that is not finite, as the file has it.
std::string first_not_finite(const at::Tensor& values, const at::Tensor& stored, int64_t begin) {
  const auto* numbers = values.const_data_ptr<float>();
  int64_t place = 0;
  while (std::isfinite(numbers[place])) ++place;
  std::ostringstream text;
  text << stored[place].item<double>() << " at place " << begin + place;
  return text.str();
}

// In blocks, each checked while it is in the cache: a pass of its own over a large tensor would
// take nearly as long as the copy.
at::Tensor floats(const SafetensorsFile& file, const std::string& name, const TensorEntry& entry) {
  static constexpr int64_t kBlock = 1 << 14;
  at::Tensor out = at::empty(entry.shape, at::kFloat);
  const int64_t numbers = out.numel();
  const at::Tensor flat = out.view({numbers});
  const at::Tensor other_type = at::empty({std::min(kBlock, numbers)}, entry.dtype);
  const std::byte* from = file.bytes(name).data();
  for (int64_t begin = 0; begin < numbers; begin += kBlock) {
    const int64_t count = std::min(kBlock, numbers - begin);
    const at::Tensor values = flat.narrow(0, begin, count);
    const at::Tensor stored = entry.dtype == at::kFloat ? values : other_type.narrow(0, 0, count);
    std::memcpy(stored.mutable_data_ptr(), from, stored.nbytes());  // it may lie unaligned
    from += stored.nbytes();
    if (entry.dtype != at::kFloat) values.copy_(stored);
    if (all_finite(values.const_data_ptr<float>(), count)) continue;
    throw Error(ErrorKind::kFormat, file.path().string() + ": tensor " + name + " holds " +
                                        first_not_finite(values, stored, begin) +
                                        ", expected finite numbers within float32's range");
  }
  return out;
}

}  // namespace

at::Tensor TensorReader::take(const std::string& name, const std::vector<int64_t>& shape) {
  if (!has(name)) {
    throw Error(ErrorKind::kFormat, path().string() + ": tensor " + name +
                                        " is missing, expected shape " + shape_text(shape));
  }
  const SafetensorsFile& file = files_->file_of(name);
  const TensorEntry& entry = file.entry(name);
  if (!at::isFloatingType(entry.dtype)) {
    throw Error(ErrorKind::kFormat, file.path().string() + ": tensor " + name + " is of type " +
                                        c10::toString(entry.dtype) +
                                        ", expected F32, F16, BF16 or F64");
  }
  if (!fits(entry.shape, shape)) {
    throw Error(ErrorKind::kFormat, file.path().string() + ": tensor " + name + " has shape " +
                                        shape_text(entry.shape) + ", expected " +
                                        shape_text(shape));
  }
  taken_.insert(name);
  return floats(file, name, entry);
}

std::vector<int64_t> TensorReader::shape(const std::string& name) const {
  return has(name) ? files_->file_of(name).shape(name) : std::vector<int64_t>{};
}

void TensorReader::finish() const {
  std::string names;
  size_t count = 0;
  for (const auto& name : files_->names()) {
    if (taken_.count(name) > 0) continue;
    if (++count <= 5) names += (count > 1 ? ", " : "") + excerpt(name);
  }
  if (count == 0) return;
  throw Error(ErrorKind::kFormat, path().string() + ": " + std::to_string(count) +
                                      (count == 1 ? " tensor is" : " tensors are") +
                                      " left over, which the configuration has no place for: " +
                                      names + (count > 5 ? ", ..." : ""));
}

}  // namespace tome
