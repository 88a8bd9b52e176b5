// PIL's resize, pass by pass, over only the rows and columns that the crop keeps.
#include <algorithm>
#include <bit>
#include <cstring>

#include "media/preprocess_kernel.h"
#include "media/resample.h"
#include "media/row_kernels.h"

namespace tome {
namespace {

// Bytes of a row that the kernels may read.
int64_t read_extent(const ExactTaps& taps, int pixel_bytes) {
  int64_t extent = int64_t{taps.span} * pixel_bytes;
  for (int32_t i = 0; i < taps.count; ++i) {
    const int64_t last_group = taps.first[i] + (taps.used[i] - 1) / ExactTaps::kGroup * 4;
    extent = std::max(extent, last_group * pixel_bytes + kRgbGroupBytes);
  }
  return extent;
}

// Rows after the horizontal pass, the last few of them, each in slot (row modulo slots).
class RowRing {
 public:
  RowRing(const Frame& frame, const Region& region, const Plan& plan, std::vector<uint8_t>& storage,
          std::vector<uint8_t>& spare)
      : kernels_(row_kernels()),
        plane_(frame.planes[0]),
        source_{layout_of(frame.format).bytes, layout_of(frame.format).offsets},
        taps_(plan.exact_x),
        end_(plan.exact_y.span),
        row_bytes_(int64_t{taps_.count} * 4) {
    const auto most = *std::max_element(plan.exact_y.used.begin(), plan.exact_y.used.end());
    slots_ = static_cast<int32_t>(std::bit_ceil(static_cast<uint32_t>(most + kRgbRows)));
    // One slot more takes the rows that pad the last group.
    slots_data_ = at_least(storage, static_cast<size_t>(slots_ + 1) * row_bytes_);
    used_bytes_ = int64_t{taps_.span} * source_.pixel_bytes;
    read_bytes_ = read_extent(taps_, source_.pixel_bytes);
    spare_ = at_least(spare, static_cast<size_t>(kRgbRows) * read_bytes_);
    first_ = plane_.data + (region.y + plan.exact_y.begin) * plane_.stride +
             (region.x + taps_.begin) * source_.pixel_bytes;
  }

  // Rows from..from + count - 1 of the picture.
  void fetch(int32_t from, int32_t count, const uint8_t** rows) {
    next_ = std::max(next_, from);
    while (next_ < from + count) produce();
    for (int32_t k = 0; k < count; ++k) rows[k] = slot(from + k);
  }

 private:
  uint8_t* slot(int32_t row) { return slots_data_ + (row & (slots_ - 1)) * row_bytes_; }

  // The row itself, or a copy where the kernels would read beyond the end of the plane.
  const uint8_t* readable(int32_t row, int lane) {
    const uint8_t* data = first_ + row * plane_.stride;
    if (plane_.data + plane_.size - data >= read_bytes_) return data;
    uint8_t* copy = spare_ + lane * read_bytes_;
    std::memcpy(copy, data, used_bytes_);
    return copy;
  }

  void produce() {
    const uint8_t* in[kRgbRows];
    uint8_t* out[kRgbRows];
    for (int k = 0; k < kRgbRows; ++k) {
      const bool real = next_ + k < end_;
      in[k] = real ? readable(next_ + k, k) : in[0];
      out[k] = real ? slot(next_ + k) : slots_data_ + slots_ * row_bytes_;
    }
    kernels_.resize_rgb(in, source_, taps_, out);
    next_ += kRgbRows;
  }

  const RowKernels& kernels_;
  const Plane& plane_;
  RgbSource source_;
  const ExactTaps& taps_;
  int32_t end_, next_ = 0, slots_ = 0;
  int64_t row_bytes_, used_bytes_ = 0, read_bytes_ = 0;
  uint8_t* slots_data_ = nullptr;
  uint8_t* spare_ = nullptr;
  const uint8_t* first_ = nullptr;
};

struct Scratch {
  std::vector<uint8_t> ring, spare, pixels;
  std::vector<const uint8_t*> rows;
};

void spread_grey(uint8_t* pixels, int32_t width) {
  for (int32_t i = 0; i < width * 4; ++i) {
    pixels[i] = static_cast<uint8_t>(cuda::full_range_grey(pixels[i]));
  }
}

void horizontal_first(const Frame& frame, const Region& region, const Plan& plan,
                      const Normalisation& normalisation, RowSink& sink, Scratch& scratch) {
  const RowKernels& kernels = row_kernels();
  const ExactTaps& vertical = plan.exact_y;
  const int32_t width = plan.exact_x.count;
  RowRing ring(frame, region, plan, scratch.ring, scratch.spare);
  uint8_t* pixels = at_least(scratch.pixels, static_cast<size_t>(width) * 4);
  const uint8_t** rows = at_least(scratch.rows, vertical.length);
  for (int32_t y = 0; y < vertical.count; ++y) {
    ring.fetch(vertical.first[y], vertical.used[y], rows);
    kernels.blend_exact(rows, vertical, y, width * 4, pixels);
    if (is_limited_grey(frame)) spread_grey(pixels, width);
    const std::array<float*, 3> out = sink.row(y);
    kernels.rgb_to_float(pixels, width, normalisation, out.data());
    sink.done(y);
  }
}

void vertical_first(const Frame& frame, const Region& region, const Plan& plan,
                    const Normalisation& normalisation, RowSink& sink, Scratch& scratch) {
  const RowKernels& kernels = row_kernels();
  const PixelLayout& layout = layout_of(frame.format);
  const RgbSource source{layout.bytes, layout.offsets};
  const ExactTaps& vertical = plan.exact_y;
  const ExactTaps& horizontal = plan.exact_x;
  const int64_t out_bytes = int64_t{horizontal.count} * 4;
  const int32_t in_bytes = horizontal.span * source.pixel_bytes;
  const int64_t in_stride = read_extent(horizontal, source.pixel_bytes);
  const Plane& plane = frame.planes[0];
  const uint8_t* first = plane.data + (region.y + vertical.begin) * plane.stride +
                         (region.x + horizontal.begin) * source.pixel_bytes;
  uint8_t* blended = at_least(scratch.spare, static_cast<size_t>(kRgbRows) * in_stride);
  uint8_t* pixels = at_least(scratch.pixels, static_cast<size_t>(kRgbRows) * out_bytes);
  const uint8_t** rows = at_least(scratch.rows, vertical.length);
  for (int32_t y = 0; y < vertical.count; y += kRgbRows) {
    const int32_t group = std::min(kRgbRows, vertical.count - y);
    const uint8_t* in[kRgbRows];
    uint8_t* resized[kRgbRows];
    for (int32_t k = 0; k < kRgbRows; ++k) {
      in[k] = blended + k * in_stride;
      resized[k] = pixels + k * out_bytes;
      if (k >= group) continue;
      for (int32_t t = 0; t < vertical.used[y + k]; ++t) {
        rows[t] = first + (vertical.first[y + k] + t) * plane.stride;
      }
      kernels.blend_exact(rows, vertical, y + k, in_bytes, blended + k * in_stride);
    }
    kernels.resize_rgb(in, source, horizontal, resized);
    for (int32_t k = 0; k < group; ++k) {
      if (is_limited_grey(frame)) spread_grey(resized[k], horizontal.count);
      const std::array<float*, 3> out = sink.row(y + k);
      kernels.rgb_to_float(resized[k], horizontal.count, normalisation, out.data());
      sink.done(y + k);
    }
  }
}

}  // namespace

void resample_rgb(const Frame& frame, const Region& region, const Plan& plan,
                  const Normalisation& normalisation, RowSink& sink) {
  thread_local Scratch scratch;
  (plan.vertical_first ? vertical_first : horizontal_first)(frame, region, plan, normalisation,
                                                            sink, scratch);
}

}  // namespace tome
