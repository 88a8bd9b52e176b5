// From the pixels of a region to rows of the model's input, one after the other.
#pragma once

#include <cstdint>

#include "media/colour.h"
#include "media/frame.h"
#include "media/plan.h"

namespace tome {

/// Takes the rows of the picture as they are ready, from the top.
class RowSink {
 public:
  virtual ~RowSink() = default;
  /// Where row `index` (0 is the picture's first, not the input's) of each channel R, G, B belongs.
  virtual std::array<float*, 3> row(int32_t index) = 0;
  /// That row has been written.
  virtual void done(int32_t index) = 0;
};

/// Resizes, normalises and hands over every row of plan.placement, for frames that checked_region
/// accepted.
void resample_rgb(const Frame& frame, const Region& region, const Plan& plan,
                  const Normalisation& normalisation, RowSink& sink);
void resample_yuv(const Frame& frame, const Region& region, const Plan& plan,
                  const Normalisation& normalisation, RowSink& sink);

/// A buffer that only grows, for working rows that outlive the frame.
template <typename T>
T* at_least(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

}  // namespace tome
