// The weights of every family, read into the canonical form.
#pragma once

#include "checkpoint/model_spec.h"
#include "checkpoint/tensor_reader.h"
#include "vit/weights.h"

namespace tome {

/// Reads what `spec` asks for; completes `spec` with what only the tensors know (the number of
/// classes; whether an HF deit has two heads; which image a timm model's positions are for).
/// @throws Error kFormat that names the tensor
ViTWeights read_weights(ModelSpec& spec, TensorReader& tensors);

}  // namespace tome
