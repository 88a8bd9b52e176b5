// Each plane straight to the size of the model's input, then the colours.
//
// Note [YUV is resized before it is converted]
// Converting a whole frame to RGB first, as a Python original does, touches twenty times as many
// pixels as the model sees. Resizing and the colour matrix are linear, so their order only matters
// where the original rounds to 8 bits (twice in its resize, once in its conversion) or clamps. YUV
// frames have no original to the bit anyway: decoders, swscale and PIL differ among one another in
// how they upsample chroma. So Y, U and V are each resized with PIL's kernel (vertically first,
// which is the cheaper order), kept in 16 bits with 6 fractional bits, converted at the model's
// resolution in float and clamped once. The result is not rounded to 8 bits: that would only add
// noise. tests/unit/media bounds the difference to converting first. docs/preprocessing.md says the
// same.
#include <algorithm>

#include "media/resample.h"
#include "media/row_kernels.h"

namespace tome {
namespace {

// Samples of one row that the horizontal taps read, as they come out of the vertical pass: one or
// several components interleaved.
struct RawRows {
  const uint8_t* data = nullptr;  // first sample of the row that vertical.begin stands for
  int64_t stride = 0;
  int32_t samples = 0;
};

struct Scratch {
  std::vector<int16_t> raw, y, u, v, pairs, resized;
};

class YuvResampler {
 public:
  YuvResampler(const Frame& frame, const Region& region, const Plan& plan, Scratch& scratch)
      : frame_(frame),
        layout_(layout_of(frame.format)),
        region_(region),
        plan_(plan),
        kernels_(row_kernels()),
        blend_(layout_.bytes == 2 ? kernels_.blend_wide10 : kernels_.blend_wide8) {
    // Of the widest row, macropixels, and behind it what resize_wide may read.
    const size_t most = 2 * size_t(plan.luma_x.span + 2 * plan.chroma_x.span) + 16 +
                        std::max(plan.luma_x.length, plan.chroma_x.length);
    raw_ = at_least(scratch.raw, 2 * most);
    pairs_ = at_least(scratch.pairs, most);
    y_ = at_least(scratch.y, most);
    u_ = at_least(scratch.u, most);
    v_ = at_least(scratch.v, most);
    const auto width = static_cast<size_t>(plan.luma_x.count);
    int16_t* resized = at_least(scratch.resized, 3 * width);
    out_ = {resized, resized + width, resized + 2 * width};
  }

  // Row `index` of the picture as Y, U, V.
  const std::array<int16_t*, 3>& row(int32_t index) {
    const int16_t* y = y_;
    const int16_t* u = u_;
    const int16_t* v = v_;
    switch (layout_.kind) {
      case LayoutKind::kPlanar:
        blend(planar(0, luma_column(), luma_row(), plan_.luma_x.span), plan_.luma_y, index, y_);
        blend(planar(1, chroma_column(), chroma_row(), plan_.chroma_x.span), plan_.chroma_y, index,
              u_);
        blend(planar(2, chroma_column(), chroma_row(), plan_.chroma_x.span), plan_.chroma_y, index,
              v_);
        break;
      case LayoutKind::kSemiPlanar:
        blend(planar(0, luma_column(), luma_row(), plan_.luma_x.span), plan_.luma_y, index, y_);
        blend(planar(1, 2 * chroma_column(), chroma_row(), 2 * plan_.chroma_x.span), plan_.chroma_y,
              index, raw_);
        kernels_.split_pairs(raw_, plan_.chroma_x.span, u_, v_);
        break;
      default:
        split_macropixels(index, y, u, v);
        break;
    }
    kernels_.resize_wide(y, plan_.luma_x, out_[0]);
    kernels_.resize_wide(u, plan_.chroma_x, out_[1]);
    kernels_.resize_wide(v, plan_.chroma_x, out_[2]);
    return out_;
  }

 private:
  int64_t luma_column() const { return region_.x + plan_.luma_x.begin; }
  int64_t luma_row() const { return region_.y + plan_.luma_y.begin; }
  int64_t chroma_column() const { return region_.x / 2 + plan_.chroma_x.begin; }
  int64_t chroma_row() const { return region_.y / 2 + plan_.chroma_y.begin; }

  RawRows planar(int plane, int64_t column, int64_t row, int32_t samples) const {
    const Plane& p = frame_.planes[plane];
    return {p.data + row * p.stride + column * layout_.bytes, p.stride, samples};
  }

  void blend(const RawRows& rows, const WideTaps& taps, int32_t index, int16_t* out) const {
    blend_(rows.data, rows.stride, taps, index, rows.samples, out);
  }

  void split_macropixels(int32_t index, const int16_t*& y, const int16_t*& u,
                         const int16_t*& v) const {
    const int64_t begin = std::min(luma_column() / 2, chroma_column());
    const int64_t end = std::max((luma_column() + plan_.luma_x.span + 1) / 2,
                                 chroma_column() + plan_.chroma_x.span);
    const auto macropixels = static_cast<int32_t>(end - begin);
    const Plane& p = frame_.planes[0];
    blend({p.data + luma_row() * p.stride + begin * 4, p.stride, macropixels * 4}, plan_.luma_y,
          index, raw_);
    const bool luma_is_even = layout_.offsets[0] == 0;
    kernels_.split_pairs(raw_, macropixels * 2, luma_is_even ? y_ : pairs_,
                         luma_is_even ? pairs_ : y_);
    kernels_.split_pairs(pairs_, macropixels, u_, v_);
    y += luma_column() - 2 * begin;
    u += chroma_column() - begin;
    v += chroma_column() - begin;
  }

  const Frame& frame_;
  const PixelLayout& layout_;
  const Region& region_;
  const Plan& plan_;
  const RowKernels& kernels_;
  decltype(RowKernels::blend_wide8) blend_;
  int16_t* raw_ = nullptr;
  int16_t* pairs_ = nullptr;
  int16_t* y_ = nullptr;
  int16_t* u_ = nullptr;
  int16_t* v_ = nullptr;
  std::array<int16_t*, 3> out_{};
};

}  // namespace

void resample_yuv(const Frame& frame, const Region& region, const Plan& plan,
                  const Normalisation& normalisation, RowSink& sink) {
  thread_local Scratch scratch;
  const RowKernels& kernels = row_kernels();
  const ColourMatrix matrix =
      colour_matrix(frame.matrix, frame.range, layout_of(frame.format).bytes == 2 ? 10 : 8);
  YuvResampler resampler(frame, region, plan, scratch);
  for (int32_t index = 0; index < plan.luma_y.count; ++index) {
    const std::array<int16_t*, 3>& yuv = resampler.row(index);
    const std::array<float*, 3> out = sink.row(index);
    kernels.yuv_to_float(yuv[0], yuv[1], yuv[2], plan.luma_x.count, matrix, normalisation,
                         out.data());
    sink.done(index);
  }
}

}  // namespace tome
