// The fused forward's operations on a CUDA device.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/stream.h"
#include "vit/fused_ops.h"
#include "vit/operation_time.h"
#include "vit/product_cuda.h"

namespace tome::cuda {

/// Enqueues on streams of its own, of the device that was current when it was made. All pointers
/// are that device's memory.
class CudaOps : public FusedOps {
 public:
  /// Where matching runs: beside attention, which is launched as its dependent or, where the device
  /// has no such launches, meanwhile on another stream; or in turn with everything else.
  enum class Matching { kBeside, kBesideByStream, kInTurn };
  /// @throws Error kDevice, kOutOfMemory
  explicit CudaOps(Matching matching = Matching::kBeside);

  Stream stream() const { return main_.get(); }

  /// Before a forward, whose graph then clears `counters` once (see MatrixProducts).
  void restart_counters() { products_.restart_counters(); }
  std::span<unsigned char> counters() const { return products_.counters(); }

  /// After a forward that threw: what it enqueued on another stream is waited for by what comes.
  void rejoin() noexcept;

  /// As MatrixProducts::tune.
  void tune(const ProductRequest& request) { products_.tune(request, main_.get()); }

  void product(const ProductRequest& request) override;
  void embed(const EmbedRequest& request) override;
  void attend(const AttentionRequest& request, LaunchOrder order) override;
  void merge(const MergeRequest& request) override;
  void pool(const PoolRequest& request) override;
  void sources(const SourceParams& request) override;
  void clear(void* memory, size_t bytes) override;
  void split(const PartitionParams& request, LaunchOrder order) override;
  void fork() override;
  void match(const MatchRequest& request) override;
  void join() override;

 private:
  /// What is asked for, where the device has it and nothing is to run in turn.
  LaunchOrder order_of(LaunchOrder asked) const;

  bool dependent_ = false;  ///< kernels may begin beside the one before them
  OwnedStream main_;
  std::optional<OwnedStream> side_;
  Event forked_, joined_;
  MatrixProducts products_;
};

/// Tunes a forward's products and does nothing else, on memory that a run has left behind.
class TuningOps : public FusedOps {
 public:
  explicit TuningOps(CudaOps& ops) : ops_(ops) {}

  void product(const ProductRequest& request) override { ops_.tune(request); }
  void embed(const EmbedRequest&) override {}
  void attend(const AttentionRequest&, LaunchOrder) override {}
  void merge(const MergeRequest&) override {}
  void pool(const PoolRequest&) override {}
  void sources(const SourceParams&) override {}
  void clear(void*, size_t) override {}
  void split(const PartitionParams&, LaunchOrder) override {}
  void fork() override {}
  void match(const MatchRequest&) override {}
  void join() override {}

 private:
  CudaOps& ops_;
};

/// Passes operations on to CudaOps (kInTurn) and times each on the device.
class TimedOps : public FusedOps {
 public:
  explicit TimedOps(CudaOps& ops) : ops_(ops) {}

  void product(const ProductRequest& request) override;
  void embed(const EmbedRequest& request) override;
  void attend(const AttentionRequest& request, LaunchOrder order) override;
  void merge(const MergeRequest& request) override;
  void pool(const PoolRequest& request) override;
  void sources(const SourceParams& request) override;
  void clear(void* memory, size_t bytes) override;
  void split(const PartitionParams& request, LaunchOrder order) override;
  void fork() override {}
  void match(const MatchRequest& request) override;
  void join() override {}

  /// Waits for what was enqueued; by kind, in the order of their first calls.
  std::vector<OperationTime> times() const;

 private:
  struct Span {
    const char* name;
    Event begin, end;
  };
  template <class F>
  void time(const char* name, F&& enqueue);
  CudaOps& ops_;
  std::vector<Span> spans_;
};

}  // namespace tome::cuda
