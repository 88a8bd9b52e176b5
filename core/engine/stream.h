// One stream of frames: which of them are classified, alone or as clips, whole or by region.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/clip_window.h"
#include "engine/model_instance.h"
#include "engine/ticket.h"
#include "media/frame.h"

namespace tome {

/// What may change while a stream runs: Stream::adjust.
struct StreamAdjustment {
  uint32_t top_k = 5;
  double threshold = 0;  ///< as top_scores
  uint32_t inference_interval = 1;
};

struct StreamConfig : StreamAdjustment {
  std::string name;      ///< for the log
  std::string schedule;  ///< r spec; empty: the model's default
  PropAttn prop_attn = PropAttn::kAuto;
  std::optional<ScoreActivation> activation;  ///< unset: the model's
  uint32_t clip_stride = 0;                   ///< 0: clip length x frame_stride
  uint32_t frame_stride = 1;
  double smoothing = 0;
  double static_threshold = -1;  ///< clips: grey levels, see match_static_runs; negative: off
  uint32_t max_pending = 0;      ///< 0: 2 x batch size + clip length
};

struct FrameOptions {
  int64_t pts = -1;  ///< nanoseconds
  bool discont = false;
  /// Parts of the frame to classify; unset: the full frame. They are cut to the frame; one that is
  /// empty or outside has no result. {0, 0, 0, 0} stands for the full frame.
  std::optional<std::vector<Region>> regions;
  std::optional<TimePoint> deadline;
  bool no_inference = false;
};

class Stream {
 public:
  /// @throws Error kSettings naming the setting, what was found and what was expected
  Stream(std::shared_ptr<ModelInstance> model, const StreamConfig& config);
  ~Stream();  ///< as Batcher::close_stream
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Queues one frame. Blocks while max_pending tickets are pending; a flush unblocks it, and the
  /// frame is then cancelled. One thread at a time.
  /// @throws Error for a frame that makes no sense; the stream goes on
  std::shared_ptr<Ticket> submit(Frame frame, const FrameOptions& options);

  /// End of stream. See ClipWindows::drain; null if there is nothing to classify.
  std::shared_ptr<Ticket> drain();

  /// Nothing more is submitted until a ticket is ready: batches do not wait to fill. Until the next
  /// submit; any thread.
  void hurry();

  /// Cancels every pending ticket and empties the window. Any thread.
  void flush();

  /// From the next batch on. @throws Error kSettings; nothing changes then
  void set_schedule(const std::string& spec);

  /// From the next frame on that is submitted. The interval counts from the last frame that was
  /// due, or the last window of a clip; windows that have begun stay as they are. Any thread.
  /// @throws Error kSettings; nothing changes then
  void adjust(const StreamAdjustment& adjustment);

 private:
  bool is_clip() const { return windows_.has_value(); }
  std::shared_ptr<Ticket> submit_frame(Frame frame, const FrameOptions& options, uint64_t epoch);
  std::shared_ptr<Ticket> submit_to_window(Frame frame, const FrameOptions& options,
                                           uint64_t epoch);
  std::shared_ptr<Ticket> submit_window(Window window, const FrameOptions& options, uint64_t epoch,
                                        double preprocess_ms);
  std::shared_ptr<Ticket> queue(const std::shared_ptr<Task>& task, uint64_t epoch);
  std::shared_ptr<Task> new_task(const FrameOptions& options) const;
  void enter_epoch(uint64_t epoch);
  void take_adjustment();

  std::shared_ptr<ModelInstance> model_;
  const StreamConfig config_;
  std::shared_ptr<StreamQueue> queue_;
  std::mutex adjusting_;
  StreamAdjustment asked_;  // with adjusting_
  // Only the submitting thread touches what follows; a flush shows as another epoch.
  StreamAdjustment now_;
  std::optional<ClipWindows> windows_;
  uint64_t epoch_ = 0;
  uint64_t generation_ = 0;
  EveryNth due_frames_;
};

/// The part of `region` inside a frame of `width` x `height`, see Note [One rule for regions];
/// nothing if there is none. {0, 0, 0, 0} stays what it is.
std::optional<Region> cut_region(const Region& region, int32_t width, int32_t height);

}  // namespace tome
