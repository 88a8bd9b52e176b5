#include "core_loader.h"

#include <dlfcn.h>

#include <mutex>

#include "install_paths.h"

// Note [The core is opened late and never closed]
// The plugin does not link LibTorch. A plugin whose dependencies are missing is put on GStreamer's
// blacklist by the scanner and then simply does not exist ("no element tomeclassify"); one that
// opens the library in NULL->READY scans in milliseconds and can say what is missing. The library
// is never closed: LibTorch and OpenMP leave threads and thread-local data behind that point into
// their code.

namespace tome::gst {
namespace {

constexpr const char* kHowToInstall =
    "Run ./setup.sh in the gst-tome source tree, which installs LibTorch and builds the core; if "
    "LibTorch is there already, LIBTORCH=DIR ./setup.sh builds against it. TOMEVIT_LIBRARY=FILE "
    "names another core library.";

CoreLibrary failure(const std::string& what) {
  CoreLibrary library;
  library.error = what + ". " + kHowToInstall;
  return library;
}

CoreLibrary open_core() {
  const std::string path = core_library_file();
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    return failure("Cannot open the core library '" + path +
                   "': " + (reason != nullptr ? reason : "no reason given"));
  }
  const auto table = reinterpret_cast<TomeCoreApiFunction>(dlsym(handle, "tome_core_api"));
  if (table == nullptr) {
    return failure("'" + path + "' is not a gst-tome core: no tome_core_api in it");
  }
  const TomeCoreApi* api = table(TOME_CORE_API_VERSION);
  if (api == nullptr || api->version != TOME_CORE_API_VERSION ||
      api->struct_size < sizeof(TomeCoreApi)) {
    return failure("The core library '" + path + "' does not serve version " +
                   std::to_string(TOME_CORE_API_VERSION) +
                   " of the interface, so it was built from other sources than the plugin");
  }
  return {api, path, {}};
}

}  // namespace

CoreLibrary load_core() {
  static std::mutex mutex;
  static CoreLibrary loaded;
  const std::scoped_lock lock(mutex);
  if (loaded.api != nullptr) return loaded;
  CoreLibrary attempt = open_core();
  if (attempt.api != nullptr) loaded = attempt;
  return attempt;
}

}  // namespace tome::gst
