// Where the files that belong to the plugin are: in a build tree and when installed.
#pragma once

#include <string>

namespace tome::gst {

/// The core library to open: $TOMEVIT_LIBRARY; ../core beside the folder of the plugin file (the
/// build tree); the folder above the plugin file; the library folder given at build time; else the
/// bare soname, for the dynamic linker to find.
std::string core_library_file();

/// The module for frames in CUDA memory (Note [The CUDA module]): in the folder above the plugin
/// file (the build tree), in gst-tome/ of that folder, or of the library folder given at build
/// time. Empty if this build has none.
std::string cuda_frames_file();

/// Folder of the default model, see installed_files.h, which looks for it as the program `tome`
/// does. Empty if there is none.
std::string default_model_folder();

}  // namespace tome::gst
