// The module for frames in CUDA memory: see Note [The CUDA module].
#include "cuda_frames.h"

#define GST_USE_UNSTABLE_API
#include <dlfcn.h>
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudaloader.h>
#include <gst/cuda/gstcudamemory.h>
#include <gst/cuda/gstcudautils.h>
#if GST_CHECK_VERSION(1, 24, 0)
#include <gst/cuda/gstcudastream.h>
#endif

#include <map>
#include <mutex>
#include <utility>

#include "frame_mapper.h"

namespace tome::gst {
namespace {

std::string cuda_name(int device) { return "cuda:" + std::to_string(device); }

std::string result_text(CUresult result) {
  const char* text = nullptr;
  if (CuGetErrorString(result, &text) != CUDA_SUCCESS || text == nullptr) text = "unknown error";
  return std::string(text) + " (CUDA error " + std::to_string(result) + ")";
}

/// GStreamer's CUDA library does not hand out primary contexts: asked of the driver itself.
CUresult retain_primary_context(CUdevice device, CUcontext* context) {
  using Retain = CUresult (*)(CUcontext*, CUdevice);
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  const auto retain = driver != nullptr
                          ? reinterpret_cast<Retain>(dlsym(driver, "cuDevicePrimaryCtxRetain"))
                          : nullptr;
  return retain != nullptr ? retain(context, device) : CUDA_ERROR_NOT_FOUND;
}

int device_of(GstCudaContext* context) {
  guint device = 0;
  g_object_get(context, "cuda-device-id", &device, nullptr);
  return static_cast<int>(device);
}

/// Strides and offsets of an allocation, for buffers without a GstVideoMeta. Nothing if it holds
/// another picture than the caps say.
std::optional<GstVideoInfo> layout_of(const GstCudaMemory& memory, const GstVideoInfo& caps) {
  if (GST_VIDEO_INFO_FORMAT(&memory.info) != GST_VIDEO_INFO_FORMAT(&caps) ||
      memory.info.width < caps.width || memory.info.height < caps.height) {
    return std::nullopt;
  }
  GstVideoInfo layout = caps;
  layout.size = memory.info.size;
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(&caps); ++i) {
    layout.offset[i] = memory.info.offset[i];
    layout.stride[i] = memory.info.stride[i];
  }
  return layout;
}

/// The stream whose work on `memory` may not have ended; null if it has.
void* pending_stream([[maybe_unused]] GstCudaMemory* memory) {
#if GST_CHECK_VERSION(1, 24, 0)
  if (!GST_MEMORY_FLAG_IS_SET(memory, GST_CUDA_MEMORY_TRANSFER_NEED_SYNC)) return nullptr;
  GstCudaStream* stream = gst_cuda_memory_get_stream(memory);
  return stream != nullptr ? gst_cuda_stream_get_handle(stream) : nullptr;
#else
  return nullptr;
#endif
}

class Module final : public CudaFrames {
 public:
  Ptr<GstContext> primary_context(int device, std::string& error) override {
    GstCudaContext* context = primary(device, error);
    return Ptr<GstContext>(context != nullptr ? gst_context_new_cuda_context(context) : nullptr);
  }

  bool is_primary(GstContext* context, int device) override {
    GstCudaContext* carried = nullptr;
    gst_structure_get(gst_context_get_structure(context), GST_CUDA_CONTEXT_TYPE,
                      GST_TYPE_CUDA_CONTEXT, &carried, nullptr);
    if (carried == nullptr) return false;
    const bool same = has_handle_of_primary(carried, device);
    gst_object_unref(carried);
    return same;
  }

  CudaFrame map(GstBuffer* buffer, const GstVideoInfo& info, std::vector<TomeRegion> regions,
                int device) override {
    GstMemory* only =
        gst_buffer_n_memory(buffer) == 1 ? gst_buffer_peek_memory(buffer, 0) : nullptr;
    if (only == nullptr || !gst_is_cuda_memory(only)) {
      return refusal("a buffer is not one piece of CUDA memory: expected one, as the caps say " +
                     std::string(kCudaFeature));
    }
    auto* memory = reinterpret_cast<GstCudaMemory*>(only);
    const int owner = device_of(memory->context);
    if (owner != device) {
      return refusal("a buffer lies in the memory of " + cuda_name(owner) +
                     ", but the model runs on " + cuda_name(device) +
                     ": expected property device=" + cuda_name(owner) + ", or a producer on " +
                     cuda_name(device));
    }
    std::optional<GstVideoInfo> layout = info;
    if (gst_buffer_get_video_meta(buffer) == nullptr) layout = layout_of(*memory, info);
    if (!layout) {
      return refusal(std::string("a CUDA memory holds ") + GST_VIDEO_INFO_NAME(&memory->info) +
                     " " + std::to_string(memory->info.width) + "x" +
                     std::to_string(memory->info.height) + ": expected " +
                     GST_VIDEO_INFO_NAME(&info) + " " + std::to_string(info.width) + "x" +
                     std::to_string(info.height) + ", as the caps say");
    }
    const bool direct = has_handle_of_primary(memory->context, device);
    const auto flags =
        static_cast<GstMapFlags>(direct ? GST_MAP_READ | GST_MAP_CUDA : GST_MAP_READ);
    CudaFrame made;
    made.frame = map_frame(buffer, *layout, std::move(regions), made.error, flags);
    if (!made.frame) return made;
    if (!direct) {
      made.detour = "frames of " + cuda_name(device) +
                    " lie in another CUDA context than the device's primary one, where the model "
                    "runs: they are copied through host memory";
      return made;
    }
    made.frame->memory = TOME_MEMORY_CUDA;
    made.frame->device = device;
    // Mapping may have begun an upload, so only now.
    made.frame->producer_stream = pending_stream(memory);
    return made;
  }

 private:
  static CudaFrame refusal(std::string error) { return {std::nullopt, std::move(error), {}}; }

  GstCudaContext* primary(int device, std::string& error) {
    const std::scoped_lock lock(mutex_);
    if (const auto known = primaries_.find(device); known != primaries_.end()) return known->second;
    // Retained and referenced for good: LibTorch keeps the primary context as long.
    GstCudaContext* context = wrap_primary(device, error);
    if (context != nullptr) primaries_[device] = context;
    return context;
  }

  static GstCudaContext* wrap_primary(int device, std::string& error) {
    if (gst_cuda_load_library() == FALSE) {
      error = "GStreamer's CUDA library cannot load the NVIDIA driver (libcuda.so.1)";
      return nullptr;
    }
    CUdevice handle = 0;
    CUcontext primary = nullptr;
    CUresult result = CuInit(0);
    if (result == CUDA_SUCCESS) result = CuDeviceGet(&handle, device);
    if (result == CUDA_SUCCESS) result = retain_primary_context(handle, &primary);
    if (result != CUDA_SUCCESS) {
      error = "the primary context of " + cuda_name(device) +
              " is not to be had: " + result_text(result);
      return nullptr;
    }
    gst_cuda_memory_init_once();
    GstCudaContext* context = gst_cuda_context_new_wrapped(primary, handle);
    if (context == nullptr) {
      error = "GStreamer's CUDA library cannot use the primary context of " + cuda_name(device);
    }
    return context;
  }

  bool has_handle_of_primary(GstCudaContext* context, int device) {
    std::string ignored;
    GstCudaContext* ours = primary(device, ignored);
    return ours != nullptr && device_of(context) == device &&
           gst_cuda_context_get_handle(context) == gst_cuda_context_get_handle(ours);
  }

  std::mutex mutex_;
  std::map<int, GstCudaContext*> primaries_;
};

}  // namespace
}  // namespace tome::gst

extern "C" __attribute__((visibility("default"))) tome::gst::CudaFrames* tome_cuda_frames() {
  // Lives as long as the process, like the contexts in it.
  static auto* const module = std::make_unique<tome::gst::Module>().release();
  return module;
}
