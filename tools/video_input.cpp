#include "video_input.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <cstdarg>
#include <string>

namespace tome::cli {

void AvDeleter::operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
void AvDeleter::operator()(AVFormatContext* format) const {
  const AvPointer<AVIOContext> input(format->pb);  // which stays open: FFmpeg did not open it
  avformat_close_input(&format);
}
void AvDeleter::operator()(AVFrame* frame) const { av_frame_free(&frame); }
void AvDeleter::operator()(AVIOContext* input) const { avio_closep(&input); }
void AvDeleter::operator()(AVPacket* packet) const { av_packet_free(&packet); }
void AvDeleter::operator()(SwsContext* converter) const { sws_freeContext(converter); }

namespace {

/// For avformat_open_input().
struct InputOptions {
  AVDictionary* all = nullptr;

  InputOptions() = default;
  ~InputOptions() { av_dict_free(&all); }
  InputOptions(const InputOptions&) = delete;
  InputOptions& operator=(const InputOptions&) = delete;
};

}  // namespace

// Note [Names that FFmpeg takes for patterns]
// "img%03d.jpg" is to FFmpeg a sequence of other files, and an animated GIF of such a name no
// animation. What the file is may be told by its bytes and by the ending of its name alone.

AvPointer<AVFormatContext> open_input(const std::filesystem::path& file) {
  // It would write to stderr what it thinks of damaged data, where `tome` promises one line.
  static const bool quiet = [] {
    av_log_set_callback([](void*, int, const char*, va_list) {});
    return true;
  }();
  static_cast<void>(quiet);
  // With its folder: what stands before a colon in a bare name would be taken for a protocol.
  const std::string name = std::filesystem::absolute(file).string();
  AVIOContext* opened = nullptr;
  if (avio_open(&opened, name.c_str(), AVIO_FLAG_READ) < 0) return nullptr;
  AvPointer<AVIOContext> input(opened);
  // See Note [Names that FFmpeg takes for patterns].
  const std::string ending = "file" + file.extension().string();
  const AVInputFormat* kind = nullptr;
  if (av_probe_input_buffer2(opened, &kind, ending.c_str(), nullptr, 0, 0) < 0) return nullptr;
  InputOptions options;
  av_dict_set(&options.all, "pattern_type", "none", 0);
  AVFormatContext* format = allocated(avformat_alloc_context());
  format->pb = opened;
  // It frees the format where it fails.
  if (avformat_open_input(&format, name.c_str(), kind, &options.all) < 0) return nullptr;
  static_cast<void>(input.release());  // see AvDeleter
  return AvPointer<AVFormatContext>(format);
}

}  // namespace tome::cli
