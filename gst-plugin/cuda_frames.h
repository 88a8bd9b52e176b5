// Frames in CUDA memory, as GStreamer's CUDA library (gstreamer-cuda-1.0) hands them about.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/c_api.h"
#include "gst_ptr.h"

namespace tome::gst {

// Note [The CUDA module]
// GStreamer's CUDA library links its OpenGL library, and that X11, Wayland and EGL. A plugin that
// linked it would load all of them when it is scanned, and would not exist where one is missing. So
// what needs it is a module of its own, libtomegstcuda.so, which tomeclassify opens in NULL->READY
// if its model runs on a CUDA device, and never closes, as the core. It is built where
// gstreamer-cuda-1.0 and cuda.h are found; without it everything but frames in CUDA memory works.

// Note [One CUDA context]
// LibTorch computes in a device's primary context, and a kernel cannot read memory of another
// context. tomeclassify therefore retains the primary context, wraps it in a GstCudaContext, and
// gives that to its neighbours: as the answer to their context query, and with a have-context
// message to the bin. Elements that start before it (those downstream) may have made another one by
// then; an application avoids that by setting a GstContext that wraps the primary context. Frames
// of another context are read through host memory, and a warning says so once; frames of another
// device are a warning, and an error if they go on.

/// What a frame in CUDA memory became.
struct CudaFrame {
  std::optional<TomeFrame> frame;  ///< none: `error` says why
  std::string error;
  std::string detour;  ///< why the frame goes through host memory; empty if it does not
};

/// The module's one object. Its functions may be called from any thread.
class CudaFrames {
 public:
  virtual ~CudaFrames() = default;

  /// A GstContext with the primary context of CUDA device `device`, the same GstCudaContext for all
  /// callers, retained for good. Null, and `error` says why, without a driver or such a device.
  virtual Ptr<GstContext> primary_context(int device, std::string& error) = 0;

  /// Whether `context` carries the primary context of `device`.
  virtual bool is_primary(GstContext* context, int device) = 0;

  /// Maps a buffer of caps with memory:CUDAMemory for a model on `device`, as map_frame does. The
  /// planes are device pointers, and producer_stream is the stream whose work has to end before
  /// they are read (GStreamer >= 1.24; before, producers wait for it themselves).
  virtual CudaFrame map(GstBuffer* buffer, const GstVideoInfo& info,
                        std::vector<TomeRegion> regions, int device) = 0;
};

/// The module's only symbol.
inline constexpr const char* kCudaFramesSymbol = "tome_cuda_frames";
using CudaFramesFunction = CudaFrames* (*)();

}  // namespace tome::gst
