// A device session on LibTorch's own operators: the CPU, and any GPU that LibTorch knows.
#pragma once

#include <memory>

#include "engine/session.h"
#include "media/preprocess.h"

namespace tome {

class AtenSession : public DeviceSession {
 public:
  /// @param options  of every forward; r, prop_attn and partition come with each batch
  AtenSession(std::shared_ptr<const VisionTransformer> model, PreprocessSpec spec,
              ForwardOptions options = {});

  void preprocess(std::span<PreprocessJob> jobs) override;
  PatchesPtr preprocess_one(const Frame& frame) override;
  BatchOutput forward(const BatchInput& input) override;

 private:
  /// One forward of `patches` [batch, frames, n, k]; results go to requests `into` of `result`.
  void run(const at::Tensor& patches, const ForwardOptions& options, std::span<const int64_t> into,
           BatchOutput& result) const;

  std::shared_ptr<const VisionTransformer> model_;
  PreprocessSpec spec_;
  ForwardOptions options_;
  int64_t rows_, columns_;  // of one frame's patches
};

}  // namespace tome
