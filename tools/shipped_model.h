// The model that ships.
#pragma once

#include <string>

namespace tome::cli {

/// Its folder, which is that of `tomeclassify` without `model`.
/// @throws Error kNotFound, naming --model, if it is not there
std::string shipped_model_folder();

}  // namespace tome::cli
