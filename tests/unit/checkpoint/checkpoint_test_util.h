// Folders, files and expectations that the checkpoint tests share.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"
#include "fixtures.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {

/// The folders of fixtures() / "hf".
inline constexpr std::array<const char*, 11> kFamilies{"vit",
                                                       "deit",
                                                       "deit_distilled",
                                                       "siglip",
                                                       "dinov2",
                                                       "dinov2_with_registers",
                                                       "videomae",
                                                       "vivit",
                                                       "timm_average",
                                                       "timm_registers",
                                                       "timm_pre_norm"};

/// Whether a family's files hold a tensor that its classifier does not use.
inline bool is_unused(const std::string& tensor) {
  return tensor.rfind("vision_model.head.", 0) == 0 ||
         tensor.find(".mask_token") != std::string::npos;
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string little_endian(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

/// The bytes of a safetensors file with this header, whatever it says.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return little_endian(header.size()) + header + data;
}

using Tensors = std::map<std::string, at::Tensor>;

/// The bytes of a safetensors file with these tensors. Unlike write_safetensors it waits for no
/// disk, which a thousand files would take seconds for.
inline std::string safetensors_bytes(const Tensors& tensors) {
  static const std::map<at::ScalarType, const char*> kDtypes{{at::kFloat, "F32"},
                                                             {at::kDouble, "F64"},
                                                             {at::kHalf, "F16"},
                                                             {at::kBFloat16, "BF16"},
                                                             {at::kInt, "I32"}};
  nlohmann::json header;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor bytes = tensor.contiguous();
    const size_t begin = data.size();
    data.append(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
    header[name] = {{"dtype", kDtypes.at(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {begin, data.size()}}};
  }
  return safetensors_bytes(header.dump(), data);
}

inline Tensors read_tensors(const std::filesystem::path& path, const std::string& prefix = "") {
  const auto file = SafetensorsFile::open(path);
  Tensors out;
  for (const auto& name : file.names()) {
    if (name.rfind(prefix, 0) == 0) out[name.substr(prefix.size())] = file.tensor(name);
  }
  return out;
}

/// A copy of a fixture's model that a test may spoil.
class ModelFolder {
 public:
  explicit ModelFolder(const std::string& fixture) {
    const auto from = fixtures() / "hf" / fixture;
    config = nlohmann::json::parse(read_file(from / "config.json"));
    tensors = read_tensors(from / "model.safetensors");
    const auto processor = from / "preprocessor_config.json";
    if (std::filesystem::exists(processor)) {
      preprocess = nlohmann::json::parse(read_file(processor));
    }
  }
  ModelFolder(nlohmann::json json, Tensors weights)
      : config(std::move(json)), tensors(std::move(weights)) {}

  /// Writes what the members hold now.
  const std::filesystem::path& write() {
    write_file(path() / "config.json", config.dump());
    write_file(path() / "model.safetensors", safetensors_bytes(tensors));
    if (!preprocess.is_null()) {
      write_file(path() / "preprocessor_config.json", preprocess.dump());
    }
    return path();
  }
  const std::filesystem::path& path() const { return folder_.path(); }

  nlohmann::json config, preprocess;
  Tensors tensors;

 private:
  TemporaryFolder folder_;
};

/// `call` throws an Error of `kind` whose text holds every one of `words`.
inline void expect_error(const std::function<void()>& call, ErrorKind kind,
                         const std::vector<std::string>& words) {
  try {
    call();
    FAIL() << "no error, expected one with: " << (words.empty() ? "" : words[0]);
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    for (const auto& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "\"" << word << "\" is not in: " << error.what();
    }
  }
}

/// The folder is no checkpoint, and the error says so in these words.
inline void refuses(const std::filesystem::path& folder, ErrorKind kind,
                    const std::vector<std::string>& words, const LoadOptions& options = {}) {
  expect_error([&] { load_checkpoint(folder, options); }, kind, words);
}

}  // namespace tome::testing
