// Precompiled for the core: LibTorch's headers take most of a compilation.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>
