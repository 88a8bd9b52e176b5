// What one launch of the GPU's pre-processing reads, as one block of memory: jobs, taps, and the
// rows of those frames that lie in host memory.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "media/frame.h"
#include "media/plan.h"
#include "media/preprocess.h"
#include "media/preprocess_kernel.h"

namespace tome {

/// Plans the block for a batch, then fills it. Frames in CUDA memory are read where they lie, so
/// only their jobs are in the block. Regions of one frame are staged by the rows that they cover.
class FrameStaging {
 public:
  explicit FrameStaging(const PreprocessSpec& spec) : spec_(spec) {}

  /// Begins a new batch.
  void clear();
  /// @throws Error kSettings, kFormat as preprocess_to_patches (preprocess.h); the frame is then no
  ///   part of the batch
  void add(const Frame& frame);
  size_t frames() const { return items_.size(); }
  /// Places everything; the jobs of all frames are at the block's start. @return bytes of the block
  size_t lay_out();

  /// Writes the block to `host`, after lay_out. Its addresses are for a copy at `device`, which is
  /// 256-byte aligned. Runs on the caller's pool of threads if `parallel`.
  void fill(unsigned char* host, const unsigned char* device, bool parallel) const;

 private:
  struct PlaneRows {
    size_t at = 0;      ///< in the block
    int64_t first = 0;  ///< row of the plane
    size_t bytes = 0;   ///< 0: not staged
  };
  struct Item {
    Frame frame;
    Region region;
    std::shared_ptr<const Plan> plan;
    size_t table = 0;  ///< of tables_
    std::array<PlaneRows, 3> planes;
  };
  struct Table {
    const Plan* plan;
    std::vector<int32_t> taps;
    size_t at = 0;
  };

  size_t table_of(const Plan* plan);

  PreprocessSpec spec_;
  std::vector<Item> items_;
  std::vector<Table> tables_;
};

}  // namespace tome
