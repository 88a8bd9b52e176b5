// Matrix products on a CUDA device by cuBLASLt, with bias, activation and residual in the product's
// own epilogue.
#pragma once

#include <span>
#include <vector>

#include "cuda/device.h"
#include "cuda/on_device.h"
#include "vit/fused_ops.h"
#include "vit/product_choices.h"

namespace tome::cuda {

/// Note [Which algorithm a product takes]
/// cuBLASLt guesses an order of its algorithms for a shape; the first guess is up to a third slower
/// than the best. The warm-up of a model, and of a schedule when a stream opens, therefore measures
/// some thirty, at most 77, for each shape of one request and of a full batch (`tune`), and the
/// fastest is kept for the process and the device. Other shapes (batches that did not fill, a
/// schedule that changes while its stream runs) take the first guess, and a graph keeps what it was
/// captured with. Two processes may choose differently and then differ in the last bits; so may two
/// graphs of one process, between whose captures another schedule was tuned.
///
/// What is guessed for a number of rows are tiles that divide it well, and often none of those
/// whose epilogue hides behind the next tile's products, which matters more: with GELU, a tenth.
/// Where tokens merge, each block has another number of rows, and each its own luck. So the
/// guesses for fewer rows (eighths of them) are measured too, wherever the library says that they
/// fit: all once, then the best of them again. And so is what was the fastest for about as many
/// rows, the winners of the product's family (ProductChoices): in ViT-L at batch 128, r=8, the best
/// tiles for fc1 were not guessed in seven of the blocks, which took a fifth longer without them. A
/// forward is tuned twice, so that the first blocks meet the winners of the last.
class MatrixProducts {
 public:
  /// On the current device; for one stream at a time, since its scratch memory is one.
  /// @throws Error kDevice, kOutOfMemory
  MatrixProducts();

  /// Where products' counters are, for the graph that is captured from them: see
  /// Note [Counters that are cleared once].
  std::span<unsigned char> counters() const {
    return {counters_.as<unsigned char>(), counters_.bytes()};
  }
  /// The products that are enqueued from here on take their counters anew: once for each graph.
  /// Beyond kMostProducts, they have none of their own.
  void restart_counters() { next_ = 0; }
  static constexpr int kMostProducts = 512;

  /// Enqueues the product. Equal shapes and alignments get equal algorithms until one is tuned
  /// anew.
  /// @throws Error kDevice, kOutOfMemory; kSettings for the exact GELU, which no epilogue has
  void run(const ProductRequest& request, Stream stream);

  /// Measures the algorithms for this product, or, if that was done before, those that have become
  /// winners since, and keeps the fastest. Waits for the stream; `out` is written to.
  /// @throws Error as run
  void tune(const ProductRequest& request, Stream stream);

  struct Candidate {
    ProductAlgorithm algorithm;
    double microseconds = 0;  ///< of one product among several in a graph
  };
  /// The heuristic's algorithms, its first guess first, measured: the fastest of them best.
  /// @throws Error as run
  std::vector<Candidate> measure(const ProductRequest& request, Stream stream);

 private:
  std::span<unsigned char> workspace_for(const ProductAlgorithm& algorithm);
  /// @param algorithms  at least one, without which the rest is nothing
  std::vector<Candidate> measure(const ProductRequest& request,
                                 std::span<const ProductAlgorithm> algorithms, Stream stream);

  int device_;
  DeviceMemory workspace_, counters_;
  OnDevice<void> handle_;  ///< lt::Handle
  int next_ = 0;           ///< of the counters
};

}  // namespace tome::cuda
