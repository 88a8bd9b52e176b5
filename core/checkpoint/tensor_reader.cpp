#include "checkpoint/tensor_reader.h"

#include <ATen/ATen.h>

#include "error.h"

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

}  // namespace

at::Tensor TensorReader::take(const std::string& name, const std::vector<int64_t>& shape) {
  if (!file_->has(name)) {
    throw Error(ErrorKind::kFormat, file_->path().string() + ": tensor " + name +
                                        " is missing, expected shape " + shape_text(shape));
  }
  const TensorEntry& entry = file_->entry(name);
  if (!at::isFloatingType(entry.dtype)) {
    throw Error(ErrorKind::kFormat, file_->path().string() + ": tensor " + name + " is of type " +
                                        c10::toString(entry.dtype) +
                                        ", expected F32, F16, BF16 or F64");
  }
  if (!fits(entry.shape, shape)) {
    throw Error(ErrorKind::kFormat, file_->path().string() + ": tensor " + name + " has shape " +
                                        shape_text(entry.shape) + ", expected " +
                                        shape_text(shape));
  }
  taken_.insert(name);
  return file_->tensor(name).to(at::kFloat);
}

void TensorReader::finish() const {
  std::string names;
  size_t count = 0;
  for (const auto& name : file_->names()) {
    if (taken_.count(name) > 0) continue;
    if (++count <= 5) names += (count > 1 ? ", " : "") + name;
  }
  if (count == 0) return;
  throw Error(ErrorKind::kFormat, file_->path().string() + ": " + std::to_string(count) +
                                      (count == 1 ? " tensor is" : " tensors are") +
                                      " left over, which the configuration has no place for: " +
                                      names + (count > 5 ? ", ..." : ""));
}

}  // namespace tome
