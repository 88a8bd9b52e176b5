#include "core_loader.h"

#include <dlfcn.h>
#include <link.h>

#include <mutex>

#include "install_paths.h"
#include "never_destroyed.h"

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

/// The file of the LibTorch that the process has loaded, maybe another one than the core's; "" if
/// none. The dynamic linker goes by the name alone, so the core would get it.
std::string loaded_libtorch() {
  void* handle = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  if (handle == nullptr) return "";
  const link_map* map = nullptr;
  const bool known = dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map->l_name != nullptr;
  std::string file = known ? map->l_name : "an unknown file";
  dlclose(handle);
  return file;
}

CoreLibrary open_core() {
  const std::string path = core_library_file();
  const std::string libtorch = loaded_libtorch();
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    std::string text = "Cannot open the core library '" + path +
                       "': " + (reason != nullptr ? reason : "no reason given");
    if (!libtorch.empty()) {
      text += ". libtorch_cpu.so is loaded in this process already, from '" + libtorch +
              "': the core needs the LibTorch that it was built with, in the same process or in "
              "one of its own";
    }
    return failure(text);
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

struct LoadedCore {
  std::mutex mutex;
  CoreLibrary core;
};

}  // namespace

CoreLibrary load_core() {
  auto& loaded = never_destroyed<LoadedCore>();
  const std::scoped_lock lock(loaded.mutex);
  if (loaded.core.api != nullptr) return loaded.core;
  CoreLibrary attempt = open_core();
  if (attempt.api != nullptr) loaded.core = attempt;
  return attempt;
}

}  // namespace tome::gst
