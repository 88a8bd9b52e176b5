// A device session on LibTorch's own operators: the CPU, and any GPU that LibTorch knows.
#pragma once

#include <memory>

#include "engine/session.h"
#include "media/preprocess.h"

namespace tome {

class AtenSession : public DeviceSession {
 public:
  AtenSession(std::shared_ptr<const VisionTransformer> model, PreprocessSpec spec);

  void preprocess(std::span<PreprocessJob> jobs) override;
  PatchesPtr preprocess_one(const Frame& frame) override;
  BatchOutput forward(const BatchInput& input) override;

 private:
  std::shared_ptr<const VisionTransformer> model_;
  PreprocessSpec spec_;
  int64_t rows_, columns_;  // of one frame's patches
};

}  // namespace tome
