// A stand-in for NVIDIA's decoder library (libnvcuvid.so.1) that decodes nothing: GStreamer's
// nvcodec plugin registers cudaupload and cudadownload only where it can be loaded.
extern "C" {

#define UNUSED(name) \
  int name() { return 801; /* CUDA_ERROR_NOT_SUPPORTED */ }
UNUSED(cuvidCreateDecoder)
UNUSED(cuvidCreateVideoParser)
UNUSED(cuvidCtxLock)
UNUSED(cuvidCtxLockCreate)
UNUSED(cuvidCtxLockDestroy)
UNUSED(cuvidCtxUnlock)
UNUSED(cuvidDecodePicture)
UNUSED(cuvidDestroyDecoder)
UNUSED(cuvidDestroyVideoParser)
UNUSED(cuvidGetDecoderCaps)
UNUSED(cuvidMapVideoFrame64)
UNUSED(cuvidParseVideoData)
UNUSED(cuvidUnmapVideoFrame64)
}
