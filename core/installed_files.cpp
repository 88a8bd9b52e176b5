#include "installed_files.h"

#include <cstdlib>
#include <system_error>

namespace tome {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultModel = "camera-state";

}  // namespace

std::string find_in(const std::vector<fs::path>& folders, std::string_view name) {
  for (const auto& folder : folders) {
    std::error_code ignored;
    if (!folder.empty() && fs::exists(folder / name, ignored)) return (folder / name).string();
  }
  return {};
}

std::string default_model_folder(const fs::path& here, const fs::path& installed,
                                 const fs::path& data) {
  std::vector<fs::path> folders;
  if (const char* chosen = std::getenv("TOMEVIT_MODELS"); chosen != nullptr) {
    folders.emplace_back(chosen);
  }
  if (!here.empty()) {
    folders.push_back(here.parent_path().parent_path() / "models");
    folders.push_back((here / data.lexically_relative(installed)).lexically_normal() / "models");
  }
  folders.push_back(data / "models");
  return find_in(folders, kDefaultModel);
}

}  // namespace tome
