#include "install_paths.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "installed_files.h"

#if !defined(TOMEVIT_LIBDIR) || !defined(TOMEVIT_DATADIR)
#error "TOMEVIT_LIBDIR and TOMEVIT_DATADIR (where core and models are installed) must be defined"
#endif

namespace tome::gst {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSoname = "libtomevit.so.0";
constexpr const char* kCudaFrames = "libtomegstcuda.so";

/// Folder of the shared object that holds this code; empty if the linker does not say.
fs::path plugin_folder() {
  static const char anchor = 0;
  Dl_info info{};
  if (dladdr(&anchor, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return fs::weakly_canonical(info.dli_fname, ignored).parent_path();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::string core_library_file() {
  if (std::string chosen = environment("TOMEVIT_LIBRARY"); !chosen.empty()) return chosen;
  const fs::path plugin = plugin_folder();
  const std::string found =
      find_in({plugin.parent_path() / "core", plugin.parent_path(), TOMEVIT_LIBDIR}, kSoname);
  return found.empty() ? kSoname : found;
}

std::string cuda_frames_file() {
  const fs::path above = plugin_folder().parent_path();
  return find_in({above, above / "gst-tome", fs::path(TOMEVIT_LIBDIR) / "gst-tome"}, kCudaFrames);
}

std::string default_model_folder() {
  return tome::default_model_folder(plugin_folder(), fs::path(TOMEVIT_LIBDIR) / "gstreamer-1.0",
                                    TOMEVIT_DATADIR);
}

}  // namespace tome::gst
