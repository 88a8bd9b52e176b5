// The configuration of our own folders, written.
#pragma once

#include <nlohmann/json.hpp>

#include "checkpoint/model_spec.h"

namespace tome {

/// `spec` as the object that read_tome_spec reads back equal.
nlohmann::ordered_json tome_spec_json(const ModelSpec& spec);

}  // namespace tome
