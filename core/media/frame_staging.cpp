#include "media/frame_staging.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "media/frame_job.h"
#include "media/pixel_layout.h"

namespace tome {
namespace {

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

/// Rows [first, end) of a plane that a region covers.
std::pair<int64_t, int64_t> rows_of(int plane, const Region& region) {
  const int64_t first = region.y, end = first + region.height;
  return plane > 0 ? std::pair{first / 2, (end + 1) / 2} : std::pair{first, end};
}

}  // namespace

void FrameStaging::clear() {
  items_.clear();
  tables_.clear();
}

size_t FrameStaging::table_of(const Plan* plan) {
  const auto found =
      std::find_if(tables_.begin(), tables_.end(), [&](const Table& t) { return t.plan == plan; });
  if (found != tables_.end()) return static_cast<size_t>(found - tables_.begin());
  tables_.push_back({plan, pack_taps(*plan)});
  return tables_.size() - 1;
}

void FrameStaging::add(const Frame& frame) {
  Item item;
  item.frame = frame;
  item.frame.memory = MemoryKind::kHost;  // the checks are those of addresses and sizes
  item.region = checked_region(item.frame);
  item.frame.memory = frame.memory;
  item.frame.keep_alive = nullptr;  // whoever stages keeps the pixels, as long as it takes
  const LayoutKind kind = layout_of(frame.format).kind;
  item.plan = plan_for(kind, item.region, frame.pixel_aspect, spec_);
  item.table = table_of(item.plan.get());
  for (int i = 0; frame.memory == MemoryKind::kHost && i < plane_count(kind); ++i) {
    Plane& plane = item.frame.planes[i];
    // The stride of a lone row may be anything, since nobody needs it.
    if (plane_samples(kind, i, frame.width, frame.height).rows == 1) {
      plane.stride = plane_row_bytes(frame, i);
    }
    const auto [first, end] = rows_of(i, item.region);
    const auto begin = static_cast<size_t>(first * plane.stride);
    const auto wanted = static_cast<size_t>((end - first) * plane.stride);
    // The last row may end before its stride does.
    item.planes[i] = {0, first, std::min(wanted, plane.size - begin)};
  }
  items_.push_back(std::move(item));
}

size_t FrameStaging::lay_out() {
  size_t end = aligned(items_.size() * sizeof(cuda::FrameJob));
  const auto take = [&end](size_t bytes) {
    const size_t at = end;
    end += aligned(bytes);
    return at;
  };
  for (Table& table : tables_) table.at = take(table.taps.size() * sizeof(int32_t));
  for (Item& item : items_) {
    for (PlaneRows& rows : item.planes) {
      if (rows.bytes > 0) rows.at = take(rows.bytes);
    }
  }
  return end;
}

void FrameStaging::fill(unsigned char* host, const unsigned char* device, bool parallel) const {
  for (const Table& table : tables_) {
    std::memcpy(host + table.at, table.taps.data(), table.taps.size() * sizeof(int32_t));
  }
  struct Copy {
    const uint8_t* from;
    size_t to, bytes;
  };
  std::vector<Copy> copies;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    Frame there = item.frame;
    for (size_t p = 0; p < item.planes.size(); ++p) {
      const PlaneRows& rows = item.planes[p];
      if (rows.bytes == 0) continue;
      Plane& plane = there.planes[p];
      const int64_t skipped = rows.first * plane.stride;
      copies.push_back({plane.data + skipped, rows.at, rows.bytes});
      plane.data = device + rows.at - skipped;
    }
    const auto* taps = reinterpret_cast<const int32_t*>(device + tables_[item.table].at);
    const cuda::FrameJob job = frame_job(there, item.region, *item.plan, taps);
    std::memcpy(host + i * sizeof(job), &job, sizeof(job));
  }
  const auto copy = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Copy& c = copies[static_cast<size_t>(i)];
      std::memcpy(host + c.to, c.from, c.bytes);
    }
  };
  const auto n = static_cast<int64_t>(copies.size());
  if (parallel) {
    at::parallel_for(0, n, 1, copy);
  } else {
    copy(0, n);
  }
}

}  // namespace tome
