#include "cuda_input.h"

#include <dlfcn.h>

#include <charconv>
#include <string_view>
#include <utility>

#include "frame_mapper.h"
#include "install_paths.h"

GST_DEBUG_CATEGORY_EXTERN(tome_classify_debug);
#define GST_CAT_DEFAULT tome_classify_debug

namespace tome::gst {
namespace {

constexpr const char* kContextType = "gst.cuda.context";

/// N of "cuda:N"; -1 for another device.
int cuda_index(std::string_view device) {
  int index = -1;
  if (device.starts_with("cuda:")) {
    std::from_chars(device.data() + 5, device.data() + device.size(), index);
  }
  return index;
}

/// Opens the module, once per process; null, and `error` says why, if it cannot be had.
CudaFrames* load_module(std::string& error) {
  static std::mutex mutex;
  static CudaFrames* loaded = nullptr;
  const std::scoped_lock lock(mutex);
  if (loaded != nullptr) return loaded;
  const std::string file = cuda_frames_file();
  if (file.empty()) {
    error = "this gst-tome was built without GStreamer's CUDA library (gstreamer-cuda-1.0)";
    return nullptr;
  }
  guint major = 0, minor = 0, micro = 0, nano = 0;
  gst_version(&major, &minor, &micro, &nano);
  // What a memory's flags promise changed with 1.24, under the same name of the library.
  if ((minor >= 24) != (GST_VERSION_MINOR >= 24)) {
    error = "this gst-tome was built with GStreamer 1." + std::to_string(GST_VERSION_MINOR) +
            ", whose CUDA memory is another than that of 1." + std::to_string(minor) +
            ", which runs here";
    return nullptr;
  }
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto make = handle != nullptr
                        ? reinterpret_cast<CudaFramesFunction>(dlsym(handle, kCudaFramesSymbol))
                        : nullptr;
  if (make == nullptr) {
    const char* reason = dlerror();
    error = "cannot open '" + file + "': " + (reason != nullptr ? reason : "no reason given");
    return nullptr;
  }
  loaded = make();
  return loaded;
}

bool is_cuda(const GstCapsFeatures* features) {
  return features != nullptr && gst_caps_features_contains(features, kCudaFeature) != FALSE;
}

}  // namespace

bool has_cuda_memory(const GstCaps* caps) {
  for (guint i = 0; i < gst_caps_get_size(caps); ++i) {
    if (is_cuda(gst_caps_get_features(caps, i))) return true;
  }
  return false;
}

void CudaInput::offer(GstContext* context) {
  if (context == nullptr || gst_context_has_context_type(context, kContextType) == FALSE) return;
  const std::scoped_lock lock(mutex_);
  offered_.reset(gst_context_ref(context));
}

void CudaInput::open(const std::string& device, bool core_takes_them) {
  if (opened_for_ == device) return;
  close();
  opened_for_ = device;
  const int index = cuda_index(device);
  std::string error;
  CudaFrames* module = nullptr;
  if (index < 0) {
    error = "the model runs on the " + device + ", not on a CUDA device";
  } else if (!core_takes_them) {
    error = "this gst-tome was built without CUDA kernels";
  } else {
    module = load_module(error);
  }
  Ptr<GstContext> context = module != nullptr ? choose_context(*module, index, error) : nullptr;
  {
    const std::scoped_lock lock(mutex_);
    if (context) context_.reset(gst_context_ref(context.get()));
    module_ = context ? module : nullptr;
    device_ = index;
    refusal_ = context ? "" : error;
  }
  GST_INFO_OBJECT(element_, "frames in CUDA memory: %s", context ? "taken" : error.c_str());
  if (context) announce(context.get());
}

void CudaInput::close() {
  const std::scoped_lock lock(mutex_);
  context_.reset();
  module_ = nullptr;
  opened_for_.clear();
  refusal_.clear();
}

Ptr<GstContext> CudaInput::usable_offer(CudaFrames& module, int device) const {
  const std::scoped_lock lock(mutex_);
  if (!offered_) return nullptr;
  if (module.is_primary(offered_.get(), device)) {
    return Ptr<GstContext>(gst_context_ref(offered_.get()));
  }
  GST_INFO_OBJECT(element_, "the CUDA context that was offered is not the primary one of cuda:%d",
                  device);
  return nullptr;
}

Ptr<GstContext> CudaInput::choose_context(CudaFrames& module, int device, std::string& error) {
  auto ours = module.primary_context(device, error);
  if (!ours) return nullptr;
  if (auto offered = usable_offer(module, device)) return offered;
  // Whoever has one answers with set_context, which comes back to offer().
  gst_element_post_message(element_,
                           gst_message_new_need_context(GST_OBJECT(element_), kContextType));
  if (auto offered = usable_offer(module, device)) return offered;
  return ours;
}

void CudaInput::announce(GstContext* context) {
  gst_element_post_message(
      element_, gst_message_new_have_context(GST_OBJECT(element_), gst_context_ref(context)));
}

std::string CudaInput::refusal() const {
  const std::scoped_lock lock(mutex_);
  if (refusal_.empty()) return {};
  return "caps with " + std::string(kCudaFeature) + ": " + refusal_ +
         "; expected frames in system memory (cudadownload before tomeclassify), or device=cuda "
         "where there is one";
}

void CudaInput::narrow(GstQuery* query) const {
  if (refusal().empty()) return;
  GstCaps* result = nullptr;
  gst_query_parse_caps_result(query, &result);
  if (result == nullptr || gst_caps_is_any(result) || !has_cuda_memory(result)) return;
  const Ptr<GstCaps> narrowed(gst_caps_copy(result));
  gst_caps_filter_and_map_in_place(
      narrowed.get(),
      [](GstCapsFeatures* features, GstStructure*, gpointer) -> gboolean {
        return is_cuda(features) ? FALSE : TRUE;
      },
      nullptr);
  if (!gst_caps_is_empty(narrowed.get())) gst_query_set_caps_result(query, narrowed.get());
}

bool CudaInput::answer(GstQuery* query) const {
  const gchar* type = nullptr;
  if (gst_query_parse_context_type(query, &type) == FALSE || g_strcmp0(type, kContextType) != 0) {
    return false;
  }
  const std::scoped_lock lock(mutex_);
  if (!context_) return false;
  gst_query_set_context(query, context_.get());
  return true;
}

CudaFrame CudaInput::map(GstBuffer* buffer, const GstVideoInfo& info,
                         std::vector<TomeRegion> regions) const {
  CudaFrames* module = nullptr;
  {
    const std::scoped_lock lock(mutex_);
    module = module_;
  }
  if (module == nullptr) return {std::nullopt, refusal(), {}};
  return module->map(buffer, info, std::move(regions), device_);
}

}  // namespace tome::gst
