#include "engine/c_api_frame.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/c_api_values.h"

namespace tome {

std::shared_ptr<const void> keep_alive(const TomeFrame& frame) {
  const auto release = frame.release;
  void* const data = frame.release_data;
  if (release == nullptr) return nullptr;
  // A pointer that is never followed; its deleter runs also if there is no memory for the count.
  return std::shared_ptr<const void>(&frame, [release, data](const void*) { release(data); });
}

Frame frame_of(const TomeFrame& in) {
  Frame frame;
  frame.format = enumerator<PixelFormat>(in.format, 12, "frame format");
  frame.width = in.width;
  frame.height = in.height;
  frame.pixel_aspect = {in.pixel_aspect_n, in.pixel_aspect_d};
  for (size_t i = 0; i < 3; ++i) {
    frame.planes[i] = {in.plane[i], in.stride[i], static_cast<size_t>(in.plane_size[i])};
  }
  frame.matrix = enumerator<ColorMatrix>(in.matrix, 3, "frame matrix");
  frame.range = enumerator<ColorRange>(in.range, 3, "frame range");
  frame.memory = enumerator<MemoryKind>(in.memory, 2, "frame memory");
  frame.device = in.device;
  frame.producer_stream = in.producer_stream;
  return frame;
}

FrameOptions frame_options_of(const TomeFrame& in) {
  FrameOptions options;
  options.pts = in.pts;
  options.discont = in.discont != 0;
  options.no_inference = in.no_inference != 0;
  if (in.deadline != 0) options.deadline = TimePoint(std::chrono::nanoseconds(in.deadline));
  if (in.n_regions > 0) need(in.regions, "regions");
  if (in.regions != nullptr) {
    std::vector<Region> regions;
    regions.reserve(in.n_regions);
    for (uint32_t i = 0; i < in.n_regions; ++i) {
      const TomeRegion& region = in.regions[i];
      regions.push_back({region.x, region.y, region.width, region.height});
    }
    options.regions = std::move(regions);
  }
  return options;
}

}  // namespace tome
