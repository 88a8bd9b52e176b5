#include "media/plan.h"

#include <algorithm>
#include <list>
#include <mutex>
#include <utility>

#include "never_destroyed.h"

namespace tome {
namespace {

enum class Chroma { kNone, k420, k422 };

struct Key {
  AxisPlacement x, y;
  Chroma chroma = Chroma::kNone;
  bool odd_x = false, odd_y = false;
  Interpolation interpolation = Interpolation::kBicubic;
  bool antialias = true;

  bool operator==(const Key&) const = default;
};

Chroma chroma_of(LayoutKind kind) {
  if (kind == LayoutKind::kPacked) return Chroma::kNone;
  return kind == LayoutKind::kMacropixel ? Chroma::k422 : Chroma::k420;
}

FilterAxis luma_axis(const AxisPlacement& placement) {
  return {placement.source,
          0.0,
          static_cast<double>(placement.source),
          placement.resized,
          placement.first,
          placement.count};
}

// Note [Where chroma samples lie]
// A subsampled chroma sample lies on the even luma column of its pair (MPEG-2, H.264 and H.265 by
// default, and always for 4:2:2), and between the two luma rows. In units of chroma samples, whose
// centres are at i + 1/2, luma coordinates x and y are therefore x / 2 + 1/4 and y / 2. JPEG's
// samples between the columns would be a quarter of a sample, half a pixel of the frame, to the
// right: far below one pixel of the model's input where frames are reduced.
FilterAxis chroma_axis(const AxisPlacement& placement, bool odd, double shift) {
  const int64_t samples = (placement.source + (odd ? 1 : 0) + 1) / 2;
  return {samples,           (odd ? 0.5 : 0.0) + shift, static_cast<double>(placement.source) / 2.0,
          placement.resized, placement.first,           placement.count};
}

// Note [PIL's order of passes]
// Each pass rounds and clips to 8 bits, so their order shows in the result. Pillow resizes
// horizontally first, except (as of 13.0) where the height shrinks by more than twice what the
// width does: tall pictures. Earlier versions know no exception.
bool pil_resizes_vertically_first(const AxisPlacement& x, const AxisPlacement& y) {
  return y.source - y.resized > 2 * std::max<int64_t>(0, x.source - x.resized);
}

WideTaps chroma_taps(const Key& key, const AxisPlacement& placement, bool odd, double shift) {
  if (key.interpolation == Interpolation::kNearest) {
    // The chroma that belongs to the pixel picked, not the nearest on a grid of its own.
    std::vector<int64_t> samples = nearest_samples(luma_axis(placement));
    for (int64_t& sample : samples) sample = (sample + (odd ? 1 : 0)) / 2;
    return picking_taps(samples);
  }
  return wide_taps(chroma_axis(placement, odd, shift), key.interpolation, key.antialias);
}

std::shared_ptr<const Plan> make_plan(const Key& key) {
  auto plan = std::make_shared<Plan>();
  plan->placement = {key.x, key.y};
  const FilterAxis x = luma_axis(key.x), y = luma_axis(key.y);
  if (key.chroma == Chroma::kNone) {
    plan->exact_x = exact_taps(x, key.interpolation, key.antialias);
    plan->exact_y = exact_taps(y, key.interpolation, key.antialias);
    plan->vertical_first = pil_resizes_vertically_first(key.x, key.y);
    return plan;
  }
  plan->luma_x = wide_taps(x, key.interpolation, key.antialias);
  plan->luma_y = wide_taps(y, key.interpolation, key.antialias);
  plan->chroma_x = chroma_taps(key, key.x, key.odd_x, 0.25);
  plan->chroma_y =
      key.chroma == Chroma::k422 ? plan->luma_y : chroma_taps(key, key.y, key.odd_y, 0.0);
  return plan;
}

// The most recently used plans, latest first.
class PlanCache {
 public:
  std::shared_ptr<const Plan> get(const Key& key) {
    {
      const std::lock_guard lock(mutex_);
      const auto at = std::find_if(plans_.begin(), plans_.end(),
                                   [&](const auto& entry) { return entry.first == key; });
      if (at != plans_.end()) {
        plans_.splice(plans_.begin(), plans_, at);
        return at->second;
      }
    }
    // Made outside the lock: other streams need not wait for it.
    std::shared_ptr<const Plan> plan = make_plan(key);
    const std::lock_guard lock(mutex_);
    plans_.emplace_front(key, plan);
    if (plans_.size() > kMost) plans_.pop_back();
    return plan;
  }

 private:
  // A plan for 224 x 224 takes about 100 KB; streams of a process rarely differ in more sizes.
  static constexpr size_t kMost = 16;
  std::mutex mutex_;
  std::list<std::pair<Key, std::shared_ptr<const Plan>>> plans_;
};

}  // namespace

std::shared_ptr<const Plan> plan_for(LayoutKind kind, const Region& region, PixelAspect aspect,
                                     const PreprocessSpec& spec) {
  const Placement placement = place(region.width, region.height, spec, aspect);
  const Chroma chroma = chroma_of(kind);
  const bool odd_x = chroma != Chroma::kNone && region.x % 2 != 0;
  const bool odd_y = chroma == Chroma::k420 && region.y % 2 != 0;
  return never_destroyed<PlanCache>().get(
      {placement.x, placement.y, chroma, odd_x, odd_y, spec.interpolation, spec.antialias});
}

}  // namespace tome
