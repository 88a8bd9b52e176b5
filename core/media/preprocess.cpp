// Puts the rows of the picture where the model wants them: planes, or rows of patches.
#include "media/preprocess.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "media/colour.h"
#include "media/pixel_layout.h"
#include "media/plan.h"
#include "media/resample.h"
#include "tome_error.h"

namespace tome {
namespace {

class PlaneSink : public RowSink {
 public:
  PlaneSink(const PreprocessSpec& spec, const Placement& placement,
            const std::array<float, 3>& fill, float* planes)
      : width_(spec.width), size_(int64_t{spec.width} * spec.height), planes_(planes) {
    start_ = int64_t{placement.y.target} * width_ + placement.x.target;
    if (placement.x.count == spec.width && placement.y.count == spec.height) return;
    for (int c = 0; c < 3; ++c) std::fill_n(planes + c * size_, size_, fill[c]);
  }

  std::array<float*, 3> row(int32_t index) override {
    float* at = planes_ + start_ + index * width_;
    return {at, at + size_, at + 2 * size_};
  }
  void done(int32_t) override {}

 private:
  int64_t width_, size_, start_ = 0;
  float* planes_;
};

class PatchSink : public RowSink {
 public:
  PatchSink(const PreprocessSpec& spec, const Placement& placement,
            const std::array<float, 3>& fill, int32_t patch, float* patches,
            std::vector<float>& storage)
      : width_(spec.width), patch_(patch), top_(placement.y.target), patches_(patches) {
    float* rows = at_least(storage, static_cast<size_t>(width_) * 3);
    for (int c = 0; c < 3; ++c) {
      rows_[c] = rows + c * width_;
      std::fill_n(rows_[c], width_, fill[c]);
      picture_[c] = rows_[c] + placement.x.target;
    }
    // The rows that the picture does not reach, while the working rows still hold the fill alone.
    for (int32_t y = 0; y < spec.height; ++y) {
      if (y < top_ || y >= top_ + placement.y.count) write(y);
    }
  }

  std::array<float*, 3> row(int32_t) override { return picture_; }
  void done(int32_t index) override { write(top_ + index); }

 private:
  void write(int32_t y) {
    if (patch_ == 16) {
      write_row<16>(y, 16);
    } else {
      write_row<0>(y, patch_);
    }
  }

  // A size known to the compiler turns the copies into a few moves.
  template <int kPatch>
  void write_row(int32_t y, int32_t size) {
    const int64_t patch = kPatch > 0 ? kPatch : size;
    const int64_t columns = 3 * patch * patch;
    for (int64_t c = 0; c < 3; ++c) {
      float* to =
          patches_ + (y / patch) * (width_ / patch) * columns + (c * patch + y % patch) * patch;
      const float* from = rows_[c];
      for (int64_t x = 0; x < width_; x += patch, to += columns) {
        std::memcpy(to, from + x, patch * sizeof(float));
      }
    }
  }

  int32_t width_, patch_, top_;
  float* patches_;
  std::array<float*, 3> rows_{}, picture_{};
};

struct Job {
  Region region;
  Normalisation normalisation;
  std::shared_ptr<const Plan> plan;
};

Job prepare(const Frame& frame, const PreprocessSpec& spec) {
  Job job;
  job.region = checked_region(frame);
  job.normalisation = normalisation_of(spec);
  job.plan = plan_for(layout_of(frame.format).kind, job.region, frame.pixel_aspect, spec);
  return job;
}

void run(const Frame& frame, const Job& job, RowSink& sink) {
  const bool packed = layout_of(frame.format).kind == LayoutKind::kPacked;
  (packed ? resample_rgb : resample_yuv)(frame, job.region, *job.plan, job.normalisation, sink);
}

}  // namespace

double normalised_levels(double grey_levels, const PreprocessSpec& spec) {
  return grey_levels * spec.rescale / spec.std[0];
}

void preprocess_to_patches(const Frame& frame, const PreprocessSpec& spec, int32_t patch,
                           float* patches) {
  const Job job = prepare(frame, spec);
  if (patch <= 0 || spec.width % patch != 0 || spec.height % patch != 0) {
    throw Error(ErrorKind::kSettings,
                "patch size is " + std::to_string(patch) + ", expected a divisor of the input's " +
                    std::to_string(spec.width) + "x" + std::to_string(spec.height));
  }
  thread_local std::vector<float> rows;
  PatchSink sink(spec, job.plan->placement, fill_of(spec, job.normalisation), patch, patches, rows);
  run(frame, job, sink);
}

void preprocess_to_planes(const Frame& frame, const PreprocessSpec& spec, float* planes) {
  const Job job = prepare(frame, spec);
  PlaneSink sink(spec, job.plan->placement, fill_of(spec, job.normalisation), planes);
  run(frame, job, sink);
}

}  // namespace tome
