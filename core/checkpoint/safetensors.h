// The safetensors file format: read through a memory map with every bound checked, and written.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tome {

/// Where one tensor lies in a safetensors file.
struct TensorEntry {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;  ///< bytes from the start of the data section
};

/// A read-only safetensors file (https://huggingface.co/docs/safetensors, "Format"): 8 bytes of
/// header length, little-endian; a JSON header; the tensors' bytes, without gaps or overlaps.
/// Everything the header says is checked against the file's size when it is opened.
class SafetensorsFile {
 public:
  /// @throws Error kNotFound, kRead (not a regular file, truncated), kFormat (the header lies)
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const;  ///< sorted
  bool has(std::string_view name) const { return entries_.find(name) != entries_.end(); }
  /// @throws Error kFormat that names the tensor if there is none of that name; so do bytes() and
  /// tensor()
  const TensorEntry& entry(std::string_view name) const;
  at::ScalarType dtype(std::string_view name) const { return entry(name).dtype; }
  const std::vector<int64_t>& shape(std::string_view name) const { return entry(name).shape; }
  /// A tensor's bytes in the file, at any alignment; valid as long as this.
  std::span<const std::byte> bytes(std::string_view name) const;
  /// A contiguous CPU copy that does not need the file any more.
  at::Tensor tensor(std::string_view name) const;
  /// The header's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;
  std::filesystem::path path_;
  std::shared_ptr<const std::byte> data_;  // the data section; unmaps the file
  std::map<std::string, TensorEntry, std::less<>> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes `tensors` (any layout and device, copied to contiguous CPU memory) to `path`, by
/// replace_file.
/// @throws Error kFailed if a write fails, kSettings for a dtype the format has not
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, at::Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace tome
