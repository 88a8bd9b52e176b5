#include "film_writer.h"

extern "C" {
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
#include <libavutil/opt.h>
}

#include <memory>
#include <stdexcept>
#include <string>

#include "video_decoder.h"

namespace tome::train {
namespace {

int check(int status, const char* what) {
  if (status < 0) throw std::runtime_error(std::string("film: ") + what);
  return status;
}

struct OutputDeleter {
  void operator()(AVFormatContext* format) const {
    avio_closep(&format->pb);
    avformat_free_context(format);
  }
};

class FilmWriter {
 public:
  explicit FilmWriter(const FilmSpec& spec) {
    AVFormatContext* raw = nullptr;
    check(avformat_alloc_output_context2(&raw, nullptr, nullptr, spec.file.c_str()), "container");
    format_.reset(raw);
    open_encoder(spec);
    stream_ = avformat_new_stream(raw, nullptr);
    stream_->time_base = codec_->time_base;
    stream_->sample_aspect_ratio = spec.pixel_aspect;
    check(avcodec_parameters_from_context(stream_->codecpar, codec_.get()), "parameters");
    check(avio_open(&raw->pb, spec.file.c_str(), AVIO_FLAG_WRITE), "file");
    check(avformat_write_header(raw, nullptr), "header");
    packet_.reset(av_packet_alloc());
  }

  void write(AVFrame* frame) {
    check(avcodec_send_frame(codec_.get(), frame), "frame");
    while (avcodec_receive_packet(codec_.get(), packet_.get()) >= 0) {
      packet_->stream_index = stream_->index;
      av_packet_rescale_ts(packet_.get(), codec_->time_base, stream_->time_base);
      check(av_interleaved_write_frame(format_.get(), packet_.get()), "packet");
    }
  }

  void finish() {
    write(nullptr);
    check(av_write_trailer(format_.get()), "trailer");
  }

 private:
  void open_encoder(const FilmSpec& spec) {
    const AVCodec* encoder = avcodec_find_encoder(spec.codec);
    if (encoder == nullptr) throw std::runtime_error("film: no such encoder");
    codec_.reset(avcodec_alloc_context3(encoder));
    codec_->width = spec.width;
    codec_->height = spec.height;
    codec_->pix_fmt = spec.format;
    codec_->time_base = spec.time_base;
    codec_->sample_aspect_ratio = spec.pixel_aspect;
    codec_->colorspace = spec.matrix;
    codec_->color_range = spec.range;
    codec_->max_b_frames = spec.held_back;
    codec_->bit_rate = 4'000'000;
    codec_->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    if ((format_->oformat->flags & AVFMT_GLOBALHEADER) != 0) {
      codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    }
    check(avcodec_open2(codec_.get(), encoder, nullptr), "encoder");
  }

  std::unique_ptr<AVFormatContext, OutputDeleter> format_;
  cli::AvPointer<AVCodecContext> codec_;
  cli::AvPointer<AVPacket> packet_;
  AVStream* stream_ = nullptr;
};

}  // namespace

void write_film(const FilmSpec& spec, const std::vector<int64_t>& times,
                const std::function<void(AVFrame&, int)>& paint) {
  FilmWriter writer(spec);
  for (size_t i = 0; i < times.size(); ++i) {
    const cli::AvPointer<AVFrame> frame(av_frame_alloc());
    frame->format = spec.format;
    frame->width = spec.width;
    frame->height = spec.height;
    frame->colorspace = spec.matrix;
    frame->color_range = spec.range;
    check(av_frame_get_buffer(frame.get(), 0), "memory");
    frame->pts = times[i];
    paint(*frame, static_cast<int>(i));
    writer.write(frame.get());
  }
  writer.finish();
}

void fill(AVFrame& frame, int plane, int x, int y, int width, int height, int value) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const bool wide = av_pix_fmt_desc_get(format)->comp[0].depth > 8;
  for (int row = y; row < y + height; ++row) {
    uint8_t* line = frame.data[plane] + static_cast<ptrdiff_t>(row) * frame.linesize[plane];
    for (int column = x; column < x + width; ++column) {
      if (wide) {
        reinterpret_cast<uint16_t*>(line)[column] = static_cast<uint16_t>(value);
      } else {
        line[column] = static_cast<uint8_t>(value);
      }
    }
  }
}

void fill(AVFrame& frame, int plane, int value) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const int shift_x = plane == 0 ? 0 : format->log2_chroma_w;
  const int shift_y = plane == 0 ? 0 : format->log2_chroma_h;
  fill(frame, plane, 0, 0, -(-frame.width >> shift_x), -(-frame.height >> shift_y), value);
}

}  // namespace tome::train
