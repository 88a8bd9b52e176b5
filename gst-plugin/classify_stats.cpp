#include "classify_stats.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace tome::gst {

void ClassifyStats::reset() {
  const std::scoped_lock lock(mutex_);
  frames_ = inferences_ = skipped_ = batch_sizes_ = 0;
  tokens_in_ = tokens_out_ = 0;
  latencies_.count = queued_.count = forwards_.count = pushes_.count = 0;
}

void ClassifyStats::set_model(const char* device, const char* precision) {
  const std::scoped_lock lock(mutex_);
  device_ = device != nullptr ? device : "";
  precision_ = precision != nullptr ? precision : "";
}

void ClassifyStats::count_frame(int64_t arrival, int64_t now) {
  const std::scoped_lock lock(mutex_);
  ++frames_;
  latencies_.add(static_cast<double>(now - arrival) * 1e-6);
  pushes_.add(now);
}

void ClassifyStats::count_inference(const TomeResult& result) {
  const std::scoped_lock lock(mutex_);
  ++inferences_;
  batch_sizes_ += result.batch;
  queued_.add(result.queue_ms);
  forwards_.add(result.inference_ms);
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

double ClassifyStats::quantile(const Milliseconds& of, double share) {
  const size_t n = of.size();
  if (n == 0) return 0;
  std::vector<double> sorted(of.values.begin(), of.values.begin() + static_cast<std::ptrdiff_t>(n));
  // Nearest rank: the least value that `share` of all do not exceed.
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(n))) - 1;
  const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

double ClassifyStats::frames_per_second() const {
  if (pushes_.size() < 2) return 0;
  const int64_t span = pushes_.newest() - pushes_.oldest();
  return span > 0 ? static_cast<double>(pushes_.size() - 1) * 1e9 / static_cast<double>(span) : 0;
}

Ptr<GstStructure> ClassifyStats::structure() const {
  const std::scoped_lock lock(mutex_);
  const double average =
      inferences_ > 0 ? static_cast<double>(batch_sizes_) / static_cast<double>(inferences_) : 0;
  Ptr<GstStructure> stats(gst_structure_new(
      "tomeclassify-stats", "frames", G_TYPE_UINT64, frames_, "inferences", G_TYPE_UINT64,
      inferences_, "skipped", G_TYPE_UINT64, skipped_, "fps", G_TYPE_DOUBLE, frames_per_second(),
      "latency-p50", G_TYPE_DOUBLE, quantile(latencies_, 0.50), "latency-p99", G_TYPE_DOUBLE,
      quantile(latencies_, 0.99), "queue-p50", G_TYPE_DOUBLE, quantile(queued_, 0.50),
      "inference-p50", G_TYPE_DOUBLE, quantile(forwards_, 0.50), "tokens-in", G_TYPE_UINT,
      tokens_in_, "tokens-out", G_TYPE_UINT, tokens_out_, "average-batch", G_TYPE_DOUBLE, average,
      nullptr));
  if (!device_.empty()) {
    gst_structure_set(stats.get(), "device", G_TYPE_STRING, device_.c_str(), "precision",
                      G_TYPE_STRING, precision_.c_str(), nullptr);
  }
  return stats;
}

}  // namespace tome::gst
