#include "shipped_model.h"

#include <filesystem>
#include <system_error>

#include "installed_files.h"
#include "tome_error.h"

#if !defined(TOMEVIT_BINDIR) || !defined(TOMEVIT_DATADIR)
#error "TOMEVIT_BINDIR and TOMEVIT_DATADIR (where program and models are installed) must be defined"
#endif

namespace tome::cli {

std::string shipped_model_folder() {
  std::error_code unknown;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  std::string folder = default_model_folder(program.parent_path(), TOMEVIT_BINDIR, TOMEVIT_DATADIR);
  if (folder.empty()) {
    throw Error(ErrorKind::kNotFound,
                "--model: not given, and the default model (camera-state) is not installed; "
                "expected a folder with config.json and model.safetensors");
  }
  return folder;
}

}  // namespace tome::cli
