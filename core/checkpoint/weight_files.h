// The files that hold a model folder's weights: one, or the several that an index lists.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/safetensors.h"

namespace tome {

class WeightFiles {
 public:
  /// model.safetensors, else the files that model.safetensors.index.json lists, all in `folder`.
  /// @throws Error kNotFound, kRead, kFormat: see SafetensorsFile; an index that names a file
  ///   elsewhere, or one that does not hold what it should
  static WeightFiles open(const std::filesystem::path& folder);

  /// model.safetensors or the index.
  const std::filesystem::path& path() const { return path_; }
  std::vector<std::string> names() const;  ///< of all tensors, sorted
  bool has(std::string_view name) const { return places_.find(name) != places_.end(); }
  /// The file with the tensor `name`, which must be there.
  const SafetensorsFile& file_of(std::string_view name) const;

 private:
  explicit WeightFiles(std::filesystem::path path) : path_(std::move(path)) {}
  void add(const std::filesystem::path& file);
  void add_listed(const std::filesystem::path& folder);

  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> places_;  // of each tensor, in files_
};

}  // namespace tome
