// What `tome eval` measures on: a labelled folder, or generated clips.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "sample_rows.h"

namespace tome::cli {

/// Labelled samples in a fixed order.
class EvalSource {
 public:
  virtual ~EvalSource() = default;
  virtual int64_t size() const = 0;
  /// Requests of one sample, whose scores are averaged.
  virtual int64_t windows() const { return 1; }
  virtual int64_t class_index(int64_t sample) const = 0;
  /// Empty where it is made, not read.
  virtual std::string file(int64_t sample) const = 0;
  /// Samples [begin, end), windows() requests each.
  virtual SampleRows load(int64_t begin, int64_t end) = 0;
};

/// Samples of a folder; `split` "" takes every one. A folder of pictures has one window a sample.
std::unique_ptr<EvalSource> folder_eval_source(const Dataset& dataset, const std::string& split,
                                               int64_t limit, SamplePlan plan,
                                               const Checkpoint& checkpoint, int threads);

struct GeneratedClips {
  std::string generator;  ///< camera-state
  std::vector<std::string> pictures, clips;
  uint64_t seed = 1;
};

/// Clips of the training's generator over the files that training with the same folders held out,
/// the states in turn.
/// @throws Error kSettings for an unknown generator, or a model without its classes or shape
std::unique_ptr<EvalSource> generated_eval_source(const GeneratedClips& clips, int64_t count,
                                                  const Checkpoint& checkpoint);

}  // namespace tome::cli
