#include "classify_stats.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tome::gst {

void ClassifyStats::reset() {
  const std::scoped_lock lock(mutex_);
  frames_ = inferences_ = skipped_ = batches_ = 0;
  tokens_in_ = tokens_out_ = 0;
  latencies_.count = pushes_.count = 0;
}

void ClassifyStats::count_frame(int64_t arrival, int64_t now) {
  const std::scoped_lock lock(mutex_);
  ++frames_;
  latencies_.add(now - arrival);
  pushes_.add(now);
}

void ClassifyStats::count_inference(const TomeResult& result) {
  const std::scoped_lock lock(mutex_);
  ++inferences_;
  batches_ += result.batch;
  tokens_in_ = result.tokens_in;
  tokens_out_ = result.tokens_out;
}

void ClassifyStats::count_skipped() {
  const std::scoped_lock lock(mutex_);
  ++skipped_;
}

uint64_t ClassifyStats::frames() const {
  const std::scoped_lock lock(mutex_);
  return frames_;
}

uint64_t ClassifyStats::skipped() const {
  const std::scoped_lock lock(mutex_);
  return skipped_;
}

double ClassifyStats::latency_ms(double quantile) const {
  const size_t n = latencies_.size();
  if (n == 0) return 0;
  std::vector<int64_t> sorted(latencies_.values.begin(),
                              latencies_.values.begin() + static_cast<std::ptrdiff_t>(n));
  // Nearest rank: the least value that `quantile` of all do not exceed.
  const auto rank = static_cast<size_t>(std::ceil(quantile * static_cast<double>(n))) - 1;
  const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(sorted.begin(), at, sorted.end());
  return static_cast<double>(*at) * 1e-6;
}

double ClassifyStats::frames_per_second() const {
  if (pushes_.size() < 2) return 0;
  const int64_t span = pushes_.newest() - pushes_.oldest();
  return span > 0 ? static_cast<double>(pushes_.size() - 1) * 1e9 / static_cast<double>(span) : 0;
}

Ptr<GstStructure> ClassifyStats::structure() const {
  const std::scoped_lock lock(mutex_);
  const double average =
      inferences_ > 0 ? static_cast<double>(batches_) / static_cast<double>(inferences_) : 0;
  return Ptr<GstStructure>(gst_structure_new(
      "tomeclassify-stats", "frames", G_TYPE_UINT64, frames_, "inferences", G_TYPE_UINT64,
      inferences_, "skipped", G_TYPE_UINT64, skipped_, "fps", G_TYPE_DOUBLE, frames_per_second(),
      "latency-p50", G_TYPE_DOUBLE, latency_ms(0.50), "latency-p99", G_TYPE_DOUBLE,
      latency_ms(0.99), "tokens-in", G_TYPE_UINT, tokens_in_, "tokens-out", G_TYPE_UINT,
      tokens_out_, "average-batch", G_TYPE_DOUBLE, average, nullptr));
}

}  // namespace tome::gst
