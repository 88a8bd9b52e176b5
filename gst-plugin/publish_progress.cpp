#include "publish_progress.h"

#include <unistd.h>

#include <cstdio>

#include "printable.h"

namespace tome::gst {

void PublishProgress::start(bool enabled) {
  *this = PublishProgress();
  enabled_ = enabled && isatty(STDERR_FILENO) == 1;
  began_ = last_ = std::chrono::steady_clock::now();
}

void PublishProgress::frame() {
  if (!enabled_) return;
  ++frames_;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::milliseconds(200)) return;
  last_ = now;
  show(now);
}

void PublishProgress::result(const Classification& result) {
  if (!enabled_ || result.tags.empty()) return;
  best_ = result.tags.front();
  best_.label = printable(best_.label);
}

void PublishProgress::show(std::chrono::steady_clock::time_point now) {
  const double elapsed = std::chrono::duration<double>(now - began_).count();
  const double rate = elapsed > 0 ? static_cast<double>(frames_) / elapsed : 0;
  // Back to the start of the line, and clear what a longer line before left there.
  std::fprintf(stderr, "\r\033[K%llu frames, %.1f/s  %s %.2f",
               static_cast<unsigned long long>(frames_), rate, best_.label.c_str(), best_.score);
  std::fflush(stderr);
  shown_ = true;
}

void PublishProgress::finish() {
  if (!enabled_) return;
  show(std::chrono::steady_clock::now());
  if (shown_) std::fputc('\n', stderr);
  enabled_ = false;
}

}  // namespace tome::gst
