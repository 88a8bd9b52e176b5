// Tensors of a checkpoint, taken one by one, each with the shape that the model asks for.
#pragma once

#include <ATen/core/Tensor.h>

#include <set>
#include <string>
#include <vector>

#include "checkpoint/weight_files.h"

namespace tome {

/// Hands out the tensors of a model folder and knows which nobody asked for.
class TensorReader {
 public:
  /// `files` must outlive the reader.
  explicit TensorReader(const WeightFiles& files) : files_(&files) {}

  /// A float32 copy. A size of -1 in `shape` takes any.
  /// @throws Error kFormat if the tensor is missing, not floating point, of another shape, or holds
  ///   a NaN or what float32 has no number for: then every result would be without tags
  at::Tensor take(const std::string& name, const std::vector<int64_t>& shape);
  bool has(const std::string& name) const { return files_->has(name); }
  /// As the file has it; empty for a tensor that is missing.
  std::vector<int64_t> shape(const std::string& name) const;
  /// A tensor that may be there and that nobody needs.
  void pass_over(const std::string& name) { taken_.insert(name); }
  /// The file that messages of all tensors name.
  const std::filesystem::path& path() const { return files_->path(); }
  /// @throws Error kFormat that names the tensors nobody took or passed over
  void finish() const;

 private:
  const WeightFiles* files_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace tome
