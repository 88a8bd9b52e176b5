// Which frames of a stream make up which clip.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "engine/session.h"

namespace tome {

/// Which of many are due: the first, and then each that comes `interval` after the last due one, by
/// the interval of that moment.
class EveryNth {
 public:
  /// Whether the next one is due.
  bool next(int64_t interval) {
    const bool due = since_due_ == 0 || since_due_ >= interval;
    since_due_ = due ? 1 : since_due_ + 1;
    return due;
  }

 private:
  int64_t since_due_ = 0;  // counted from the last due one, which is the first of them; 0: none yet
};

struct WindowOptions {
  int64_t length = 1;        ///< frames of a clip
  int64_t stride = 1;        ///< frames of the stream between the starts of two windows
  int64_t frame_stride = 1;  ///< every n-th frame of the stream enters a window
  int64_t interval = 1;      ///< every n-th window is classified
};

/// A window to classify: `length` frames, the last one repeated where the stream ended early.
struct Window {
  std::vector<PatchesPtr> frames;
  int64_t start_pts = -1, end_pts = -1;
  uint32_t real_frames = 0;
};

/// Note [Windows]
/// Window k starts at frame k * stride of the stream, counted from the last reset, and samples
/// every frame_stride-th frame from there. Frames that no window due for classification samples are
/// never pre-processed. A discontinuity drops the windows that are open, which then do not count
/// for the interval: a source that jumps often still gets its every n-th window.
class ClipWindows {
 public:
  explicit ClipWindows(const WindowOptions& options) : options_(options) {}

  /// True if the next frame's pixels are needed. Call once for each frame, before `push`.
  bool advance();
  /// Adds the frame that `advance` announced; patches may be null if they are not needed.
  /// @return the window that it completes, if that is to be classified
  std::optional<Window> push(PatchesPtr patches, int64_t pts);

  /// End of stream: the oldest open window to be classified, padded, if it has at least half its
  /// frames and one that no classified window had. Closes all windows.
  std::optional<Window> drain();

  /// Drops the open windows and starts a new one at the next frame.
  void reset();

  /// For windows that have not begun.
  void set_interval(int64_t interval) { options_.interval = interval; }

 private:
  struct Open {
    int64_t first = 0;
    bool due = false;
    EveryNth counted_before;  // as if it had never begun
    std::vector<PatchesPtr> frames;
    int64_t sampled = 0;
    int64_t start_pts = -1, end_pts = -1;
  };
  bool samples(const Open& window) const;
  Window close(Open& window) const;

  WindowOptions options_;
  int64_t next_frame_ = 0;        // frames since the reset
  EveryNth due_windows_;          // those dropped by a reset not counted
  int64_t last_classified_ = -1;  // last frame of the last window that was classified
  std::deque<Open> open_;
};

}  // namespace tome
