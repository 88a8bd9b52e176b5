// An element's side of frames in CUDA memory: its context, its caps, its mapping.
#pragma once

#include <gst/gst.h>
#include <gst/video/video.h>

#include <mutex>
#include <string>
#include <vector>

#include "cuda_frames.h"
#include "gst_ptr.h"

namespace tome::gst {

/// Whether any structure of `caps` has the feature memory:CUDAMemory.
bool has_cuda_memory(const GstCaps* caps);

/// Opened and closed by state changes; everything else from any thread.
class CudaInput {
 public:
  explicit CudaInput(GstElement* element) : element_(element) {}

  /// The application or a bin offers a GstContext: the one to share if it carries the primary
  /// context of the model's device.
  void offer(GstContext* context);

  /// For a model on `device` ("cuda:0", "cpu"), as the core chose it. Where it is a CUDA device and
  /// the core takes frames in its memory, loads the module, gets a context and tells the bin. Never
  /// fails: refusal() then says why frames in CUDA memory cannot be taken. Once more with the same
  /// device, nothing happens.
  void open(const std::string& device, bool core_takes_them);
  void close();

  /// Why caps with memory:CUDAMemory cannot be taken; empty if they can, or if the model is not
  /// open yet.
  std::string refusal() const;

  /// Takes memory:CUDAMemory out of the answer to a CAPS query where it cannot be taken. Where
  /// nothing else is asked for it stays, so that caps follow and refusal() reaches the bus, where
  /// an empty answer would only make somebody else say "not negotiated".
  void narrow(GstQuery* query) const;

  /// Answers a CONTEXT query for gst.cuda.context; false: not our business.
  bool answer(GstQuery* query) const;

  /// See CudaFrames::map.
  CudaFrame map(GstBuffer* buffer, const GstVideoInfo& info, std::vector<TomeRegion> regions) const;

 private:
  Ptr<GstContext> usable_offer(CudaFrames& module, int device) const;
  Ptr<GstContext> choose_context(CudaFrames& module, int device, std::string& error);
  void announce(GstContext* context);

  GstElement* element_;
  mutable std::mutex mutex_;
  Ptr<GstContext> offered_;
  Ptr<GstContext> context_;  // the one we share
  CudaFrames* module_ = nullptr;
  std::string opened_for_;  // the device of the last open()
  int device_ = -1;
  std::string refusal_;
};

}  // namespace tome::gst
