// A device session on our own kernels: its streams, memory and graphs on one CUDA device.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "cuda/graph.h"
#include "engine/aten_session.h"
#include "engine/cuda_model.h"
#include "engine/cuda_pixels.h"
#include "vit/fused_cuda.h"
#include "vit/fused_forward.h"

namespace tome {

struct CudaModel {
  FusedWeights weights;
  int device = 0;
  std::vector<cuda::DeviceMemory> memory;  // where the weights are
};

/// Note [Graphs by shape]
/// A forward's launches depend on its shape alone: batch, frames, r of each block, proportional
/// attention. The first forward of a shape runs launch by launch; the second is captured, and every
/// later one replays the graph. All shapes share one workspace, input and output, so memory is that
/// of the largest; when these have to grow, addresses change and graphs are captured anew. At most
/// kMostShapes are kept, the least recently used goes first. If a capture or a replay fails, the
/// session says so once and goes on launch by launch; so does a shape alone whose graph does not
/// fit the memory.
///
/// Once a shape has run twice nothing is allocated for it, and the host waits for the logits alone.
class CudaSession : public DeviceSession {
 public:
  explicit CudaSession(CudaSessionSetup setup);
  ~CudaSession() override;

  void preprocess(std::span<PreprocessJob> jobs) override;
  PatchesPtr preprocess_one(const Frame& frame) override;
  BatchOutput forward(const BatchInput& input) override;
  void finish_reading() override;
  /// Launch by launch, with its products tuned after, and the capture.
  void warm_up(const BatchInput& input) override;

  std::vector<OperationTime> time_operations(const BatchInput& input);
  size_t graphs() const;

  static constexpr size_t kMostShapes = 64;

 private:
  struct Planned {
    std::unique_ptr<FusedForward> forward;
    cuda::Graph graph;
    bool seen = false;  ///< has run launch by launch
    bool fits = true;   ///< its graph found memory
    uint64_t used = 0;
  };
  struct Buffers {
    cuda::DeviceMemory workspace, input, logits;
    cuda::PinnedMemory host_logits;
  };

  FusedShape shape_of(const BatchInput& input) const;
  Planned& plan(const FusedShape& shape);
  void make_room(const FusedForward& forward);
  void drop_graphs();
  void gather(const BatchInput& input, const FusedForward& forward);
  bool replays(Planned& planned, const std::function<void()>& enqueue);
  void run(Planned& planned);
  void tune(const BatchInput& input);
  BatchOutput forward_fused(const BatchInput& input);
  BatchOutput forward_aten(const BatchInput& input);
  PatchesPtr to_host(const DevicePatches& patches);

  CudaSessionSetup setup_;
  std::shared_ptr<BlockPool> pool_;
  std::optional<cuda::CudaOps> ops_;  // none without a fused forward
  std::optional<cuda::OwnedStream> own_stream_;
  cuda::Stream stream_ = nullptr;
  CudaPixels pixels_;
  std::mutex one_;  // guards the next two
  cuda::OwnedStream one_stream_;
  CudaPixels one_pixels_;
  Buffers buffers_;
  std::map<FusedShape, Planned> plans_;
  uint64_t forwards_ = 0;
  bool captures_ = true;
  bool tunes_ = true;
  std::unique_ptr<AtenSession> aten_;
};

}  // namespace tome
