#include "media/frame_job.h"

#include "media/colour.h"
#include "media/pixel_layout.h"

namespace tome {
namespace {

template <class TapsOfAxis>
void append(const TapsOfAxis& taps, std::vector<int32_t>& block) {
  block.insert(block.end(), taps.first.begin(), taps.first.end());
  block.insert(block.end(), taps.used.begin(), taps.used.end());
  block.insert(block.end(), taps.weights.begin(), taps.weights.end());
}

bool is_packed(const Plan& plan) { return plan.exact_x.count > 0; }

/// Walks the block in the order in which pack_taps wrote it.
class TableReader {
 public:
  explicit TableReader(const int32_t* at) : at_(at) {}

  cuda::TapsView next(const Taps& taps) {
    const cuda::TapsView view{at_, at_ + taps.count, at_ + 2 * taps.count, taps.length};
    at_ += static_cast<int64_t>(taps.count) * (2 + taps.length);
    return view;
  }

 private:
  const int32_t* at_;
};

cuda::ComponentView component(const Plane& plane, int64_t column_bytes, int64_t row, int step,
                              const cuda::TapsView& x, const cuda::TapsView& y) {
  return {plane.data + row * plane.stride + column_bytes, plane.stride, step, x, y};
}

void add_rgb(const Frame& frame, const Region& region, const Plan& plan, TableReader tables,
             cuda::FrameJob& job) {
  const PixelLayout& layout = layout_of(frame.format);
  const cuda::TapsView x = tables.next(plan.exact_x), y = tables.next(plan.exact_y);
  const int64_t column = (region.x + plan.exact_x.begin) * layout.bytes;
  for (int c = 0; c < 3; ++c) {
    job.component[c] = component(frame.planes[0], column + layout.offsets[c],
                                 region.y + plan.exact_y.begin, layout.bytes, x, y);
  }
  job.vertical_first = plan.vertical_first;
  job.limited_grey = is_limited_grey(frame);
}

void add_yuv(const Frame& frame, const Region& region, const Plan& plan, TableReader tables,
             cuda::FrameJob& job) {
  const PixelLayout& layout = layout_of(frame.format);
  const cuda::TapsView luma_x = tables.next(plan.luma_x), luma_y = tables.next(plan.luma_y);
  const cuda::TapsView chroma_x = tables.next(plan.chroma_x), chroma_y = tables.next(plan.chroma_y);
  const bool macropixel = layout.kind == LayoutKind::kMacropixel;
  const int luma_step = macropixel ? 2 : layout.bytes;
  job.component[0] =
      component(frame.planes[0], (region.x + plan.luma_x.begin) * luma_step + layout.offsets[0],
                region.y + plan.luma_y.begin, luma_step, luma_x, luma_y);
  const int64_t column = region.x / 2 + plan.chroma_x.begin;
  const int64_t row = (macropixel ? region.y : region.y / 2) + plan.chroma_y.begin;
  for (int c = 1; c < 3; ++c) {
    const bool planar = layout.kind == LayoutKind::kPlanar;
    const int step = macropixel ? 4 : (planar ? 1 : 2 * layout.bytes);
    const int offset = macropixel ? layout.offsets[c] : (planar ? 0 : (c - 1) * layout.bytes);
    const int plane = macropixel ? 0 : (planar ? c : 1);
    job.component[c] =
        component(frame.planes[plane], column * step + offset, row, step, chroma_x, chroma_y);
  }
  const ColourMatrix matrix = colour_matrix(frame.matrix, frame.range, layout.bytes == 2 ? 10 : 8);
  job.yuv = job.vertical_first = true;
  job.ten_bits = layout.bytes == 2;
  job.black = matrix.black;
  job.centre = matrix.centre;
  job.luma = matrix.luma;
  job.red_v = matrix.red_v;
  job.green_u = matrix.green_u;
  job.green_v = matrix.green_v;
  job.blue_u = matrix.blue_u;
}

}  // namespace

std::vector<int32_t> pack_taps(const Plan& plan) {
  std::vector<int32_t> block;
  if (is_packed(plan)) {
    append(plan.exact_x, block);
    append(plan.exact_y, block);
    return block;
  }
  for (const WideTaps* taps : {&plan.luma_x, &plan.luma_y, &plan.chroma_x, &plan.chroma_y}) {
    append(*taps, block);
  }
  return block;
}

cuda::FrameJob frame_job(const Frame& frame, const Region& region, const Plan& plan,
                         const int32_t* tables) {
  cuda::FrameJob job;
  job.count_x = plan.placement.x.count;
  job.count_y = plan.placement.y.count;
  job.target_x = plan.placement.x.target;
  job.target_y = plan.placement.y.target;
  (is_packed(plan) ? add_rgb : add_yuv)(frame, region, plan, TableReader(tables), job);
  return job;
}

}  // namespace tome
