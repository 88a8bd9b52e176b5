// Opens the core library, once per process.
#pragma once

#include <string>

#include "engine/c_api.h"

namespace tome::gst {

/// What opening the core library came to: `api` on success, else `error` for the user.
struct CoreLibrary {
  const TomeCoreApi* api = nullptr;
  std::string path;   ///< the file that was opened
  std::string error;  ///< which library is missing or in the way, and how to install it
};

/// Opens core_library_file() at the first call and hands out the same table ever after. A failure
/// is not remembered: the next call tries again, so that a library installed meanwhile is found.
/// Thread-safe.
CoreLibrary load_core();

}  // namespace tome::gst
