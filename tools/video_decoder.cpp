#include "video_decoder.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <algorithm>
#include <array>
#include <opencv2/core.hpp>
#include <string>
#include <utility>

#include "media/pixel_layout.h"
#include "tome_error.h"
#include "vit/usable_cores.h"

namespace tome::cli {
namespace {

constexpr int kMostThreads = 16;  // beyond which libavcodec warns and gains nothing

[[noreturn]] void fail_no_video(const std::filesystem::path& file) {
  throw Error(ErrorKind::kRead,
              file.string() + ": found neither a picture nor a video that can be decoded");
}

/// FFmpeg draws text as the terminals of old did, and takes any file for text that is called so.
bool is_drawn_text(AVCodecID id) {
  return id == AV_CODEC_ID_ANSI || id == AV_CODEC_ID_BINTEXT || id == AV_CODEC_ID_IDF ||
         id == AV_CODEC_ID_XBIN;
}

bool is_video(const AVStream& stream) {
  return stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
         !is_drawn_text(stream.codecpar->codec_id) &&
         (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) == 0;
}

const int32_t* display_matrix(const AVStream& stream) {
  constexpr size_t kBytes = 9 * sizeof(int32_t);
#if LIBAVCODEC_VERSION_MAJOR >= 61
  const AVPacketSideData* data =
      av_packet_side_data_get(stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data,
                              AV_PKT_DATA_DISPLAYMATRIX);
  if (data == nullptr || data->size < kBytes) return nullptr;
  return reinterpret_cast<const int32_t*>(data->data);
#else
  size_t size = 0;
  const uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  return size < kBytes ? nullptr : reinterpret_cast<const int32_t*>(data);
#endif
}

/// Quarter turns, mirrored or not, as videoflip's video-direction=auto. The matrix takes (x, y) to
/// (a x + c y, b x + d y); one that shears or turns by other angles is ignored, as there.
Orientation orientation_of(const AVStream& stream) {
  const int32_t* matrix = display_matrix(stream);
  if (matrix == nullptr) return {};
  const int32_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  if (b == 0 && c == 0) return {false, a < 0, d < 0};
  if (a == 0 && d == 0) return {true, c < 0, b < 0};
  return {};
}

cv::Mat upright(const cv::Mat& pixels, const Orientation& orientation) {
  cv::Mat result = pixels;
  if (orientation.transposed) cv::transpose(pixels, result);
  if (!orientation.mirrored_x && !orientation.mirrored_y) return result;
  constexpr int kBoth = -1, kRows = 0, kColumns = 1;
  const int which = orientation.mirrored_x ? (orientation.mirrored_y ? kBoth : kColumns) : kRows;
  cv::Mat mirrored;
  cv::flip(result, mirrored, which);
  return mirrored;
}

/// Of the samples as FFmpeg names them: what the file says, else what is usual.
ColorRange range_of(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ411P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ444P:
      return ColorRange::kFull;
    default:
      break;
  }
  if (frame.color_range == AVCOL_RANGE_JPEG) return ColorRange::kFull;
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const bool grey = format != nullptr && format->nb_components <= 2;
  return grey && frame.color_range != AVCOL_RANGE_MPEG ? ColorRange::kFull : ColorRange::kLimited;
}

// Note [Colours that a video does not name]
// Most files of standard definition say nothing, and many of high definition. What they mean is
// what the element takes them for: GStreamer's guess, by the height of the picture as it is stored.
ColorMatrix matrix_of(const AVFrame& frame) {
  constexpr int kMostRowsOfStandardDefinition = 576;
  switch (frame.colorspace) {
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_FCC:
      return ColorMatrix::kBt601;
    case AVCOL_SPC_BT709:
    case AVCOL_SPC_SMPTE240M:
      return ColorMatrix::kBt709;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      return ColorMatrix::kBt2020;
    default:
      return frame.height > kMostRowsOfStandardDefinition ? ColorMatrix::kBt709
                                                          : ColorMatrix::kBt601;
  }
}

/// What a Frame of a format is made of; the types are OpenCV's.
struct Layout {
  PixelFormat format;
  AVPixelFormat av_format;
  std::array<int, 3> types;  ///< of each plane; those after the first have half as many rows
  int planes;
};

constexpr Layout kBgr = {PixelFormat::kBgr, AV_PIX_FMT_BGR24, {CV_8UC3}, 1};
constexpr Layout kGray = {PixelFormat::kGray8, AV_PIX_FMT_GRAY8, {CV_8UC1}, 1};
constexpr Layout kNv12 = {PixelFormat::kNv12, AV_PIX_FMT_NV12, {CV_8UC1, CV_8UC2}, 2};
constexpr Layout kI420 = {PixelFormat::kI420, AV_PIX_FMT_YUV420P, {CV_8UC1, CV_8UC1, CV_8UC1}, 3};
constexpr Layout kP010 = {PixelFormat::kP010, AV_PIX_FMT_P010LE, {CV_16UC1, CV_16UC2}, 2};

const Layout& layout_for(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P:
      return kI420;
    case AV_PIX_FMT_NV12:
      return kNv12;
    case AV_PIX_FMT_GRAY8:
      return kGray;
    case AV_PIX_FMT_YUV420P10LE:
    case AV_PIX_FMT_P010LE:
      return kP010;
    default:
      return kBgr;
  }
}

using Planes = std::array<cv::Mat, 3>;

cv::Size plane_size(const AVFrame& frame, const Layout& layout, int plane) {
  const PlaneSize size =
      plane_samples(layout_of(layout.format).kind, plane, frame.width, frame.height);
  return {static_cast<int>(size.columns), static_cast<int>(size.rows)};
}

/// YUVJ420P is YUV420P whose range is known.
bool is_laid_out(const AVFrame& frame, const Layout& layout) {
  const int format = frame.format == AV_PIX_FMT_YUVJ420P ? AV_PIX_FMT_YUV420P : frame.format;
  // Frames may be stored from the last row to the first.
  return format == layout.av_format &&
         std::all_of(frame.linesize, frame.linesize + layout.planes, [](int n) { return n > 0; });
}

Planes planes_of(AVFrame& frame, const Layout& layout) {
  Planes planes;
  for (int i = 0; i < layout.planes; ++i) {
    planes[i] = cv::Mat(plane_size(frame, layout, i), layout.types[i], frame.data[i],
                        static_cast<size_t>(frame.linesize[i]));
  }
  return planes;
}

Planes empty_planes(const AVFrame& frame, const Layout& layout) {
  constexpr int kAlignment = 32;  // the converter writes whole vectors, beyond the end of rows
  Planes planes;
  for (int i = 0; i < layout.planes; ++i) {
    const cv::Size size = plane_size(frame, layout, i);
    const int columns = (size.width + kAlignment - 1) / kAlignment * kAlignment;
    planes[i] = cv::Mat(size.height, columns, layout.types[i]).colRange(0, size.width);
  }
  return planes;
}

int sws_matrix(ColorMatrix matrix) {
  if (matrix == ColorMatrix::kBt709) return SWS_CS_ITU709;
  return matrix == ColorMatrix::kBt2020 ? SWS_CS_BT2020 : SWS_CS_ITU601;
}

void check_convertible(const AVFrame& frame, const std::filesystem::path& file) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  if (sws_isSupportedInput(format) != 0) return;
  const char* name = av_get_pix_fmt_name(format);
  throw Error(ErrorKind::kRead, file.string() + ": found frames of the pixel format " +
                                    (name == nullptr ? "?" : name) + ", which cannot be converted");
}

/// The frame's pixels in another format, by its own matrix and range. They must be of a format that
/// swscale reads.
Planes convert(const AVFrame& frame, const Layout& layout, const std::filesystem::path& file,
               AvPointer<SwsContext>& kept) {
  // Otherwise it truncates, which darkens by a level, and repeats chroma.
  constexpr int kExactly = SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT;
  kept.reset(sws_getCachedContext(
      kept.release(), frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
      frame.width, frame.height, layout.av_format, kExactly, nullptr, nullptr, nullptr));
  if (kept == nullptr) {
    throw Error(ErrorKind::kRead, file.string() + ": found frames of " +
                                      std::to_string(frame.width) + " x " +
                                      std::to_string(frame.height) + ", which cannot be converted");
  }
  const int* matrix = sws_getCoefficients(sws_matrix(matrix_of(frame)));
  const int full = range_of(frame) == ColorRange::kFull ? 1 : 0;
  constexpr int kOne = 1 << 16;
  sws_setColorspaceDetails(kept.get(), matrix, full, matrix, full, 0, kOne, kOne);
  Planes planes = empty_planes(frame, layout);
  std::array<uint8_t*, 4> data{};
  std::array<int, 4> strides{};
  for (int i = 0; i < layout.planes; ++i) {
    data[i] = planes[i].data;
    strides[i] = static_cast<int>(planes[i].step[0]);
  }
  sws_scale(kept.get(), frame.data, frame.linesize, 0, frame.height, data.data(), strides.data());
  return planes;
}

// Note [Where a video begins]
// Where its stream does, even if the frames there cannot be decoded: the others keep their times.
// But a container that knows the order of decoding alone (AVI) gives every frame the time at which
// it leaves the decoder, later than the stream's start by what the decoder holds back; there the
// first frame is the beginning. And where the file's first packet is not the first to be shown, the
// frame that is.
double origin_of(const AVFrame& first, const AVStream& stream) {
  const int64_t stamp = first.best_effort_timestamp;
  const int64_t start = stream.start_time;
  if (stamp == AV_NOPTS_VALUE) return start == AV_NOPTS_VALUE ? 0 : static_cast<double>(start);
  const bool for_showing = first.pts != AV_NOPTS_VALUE && start != AV_NOPTS_VALUE;
  return static_cast<double>(for_showing ? std::min(start, stamp) : stamp);
}

}  // namespace

VideoDecoder::VideoDecoder(const std::filesystem::path& file)
    : file_(file), format_(open_input(file)) {
  if (format_ == nullptr || avformat_find_stream_info(format_.get(), nullptr) < 0) {
    fail_no_video(file);
  }
  const AVCodec* decoder = nullptr;
  const int index = av_find_best_stream(format_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);
  if (index < 0 || !is_video(*format_->streams[index])) fail_no_video(file);
  stream_ = format_->streams[index];
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    if (static_cast<int>(i) != index) format_->streams[i]->discard = AVDISCARD_ALL;
  }
  codec_.reset(allocated(avcodec_alloc_context3(decoder)));
  codec_->thread_count = std::min(usable_cores(), kMostThreads);
  codec_->pkt_timebase = stream_->time_base;
  if (avcodec_parameters_to_context(codec_.get(), stream_->codecpar) < 0 ||
      avcodec_open2(codec_.get(), decoder, nullptr) < 0) {
    fail_no_video(file);
  }
  packet_.reset(allocated(av_packet_alloc()));
  frame_.reset(allocated(av_frame_alloc()));
  orientation_ = orientation_of(*stream_);
}

bool VideoDecoder::next() {
  for (;;) {
    const int status = avcodec_receive_frame(codec_.get(), frame_.get());
    if (status == AVERROR_EOF) return false;
    if (status == AVERROR(EAGAIN)) feed();
    if (status == 0) break;
  }
  take_time();
  return true;
}

/// The next packet of the video, or at the end of what can be read, the word that there is no more.
void VideoDecoder::feed() {
  do {
    av_packet_unref(packet_.get());
    if (av_read_frame(format_.get(), packet_.get()) < 0) {
      avcodec_send_packet(codec_.get(), nullptr);
      return;
    }
  } while (packet_->stream_index != stream_->index);
  avcodec_send_packet(codec_.get(), packet_.get());
}

void VideoDecoder::take_time() {
  const int64_t stamp = frame_->best_effort_timestamp;
  if (!time_) origin_ = origin_of(*frame_, *stream_);
  if (stamp != AV_NOPTS_VALUE) {
    // As doubles: of a damaged file their difference may be none of 64 bits.
    const double ticks = static_cast<double>(stamp) - origin_;
    const double time = ticks * av_q2d(stream_->time_base);
    if (!time_ || time > *time_) {
      time_ = time;
      return;
    }
  }
  const AVRational rate = av_guess_frame_rate(format_.get(), stream_, frame_.get());
  const double step = rate.num > 0 && rate.den > 0 ? av_q2d(av_inv_q(rate)) : 0;
  time_ = time_ ? *time_ + step : 0;
}

Frame VideoDecoder::frame() {
  struct Kept {
    AvPointer<AVFrame> decoded;  // whose pixels the planes may be
    Planes planes;
  };
  const Layout& layout = layout_for(*frame_);
  if (layout.format == PixelFormat::kBgr) check_convertible(*frame_, file_);
  const auto kept = std::make_shared<Kept>();
  if (is_laid_out(*frame_, layout)) {
    kept->decoded.reset(allocated(av_frame_clone(frame_.get())));
    kept->planes = planes_of(*kept->decoded, layout);
  } else {
    kept->planes = convert(*frame_, layout, file_, converter_);
  }
  Frame frame;
  frame.format = layout.format;
  frame.matrix = matrix_of(*frame_);
  frame.range = range_of(*frame_);
  for (int i = 0; i < layout.planes; ++i) {
    cv::Mat& plane = kept->planes[i];
    plane = upright(plane, orientation_);
    const size_t row = plane.elemSize() * static_cast<size_t>(plane.cols);
    frame.planes[i] = {plane.data, static_cast<int64_t>(plane.step[0]),
                       plane.step[0] * static_cast<size_t>(plane.rows - 1) + row};
  }
  frame.width = kept->planes[0].cols;
  frame.height = kept->planes[0].rows;
  const AVRational aspect = av_guess_sample_aspect_ratio(format_.get(), stream_, frame_.get());
  frame.pixel_aspect = {aspect.num, aspect.den};
  if (orientation_.transposed) std::swap(frame.pixel_aspect.n, frame.pixel_aspect.d);
  frame.keep_alive = kept;
  return frame;
}

bool has_one_frame(const std::filesystem::path& file) {
  const AvPointer<AVFormatContext> format = open_input(file);
  if (format == nullptr) return false;
  // Streams of some formats show only with their first packet.
  const bool all_known = (format->ctx_flags & AVFMTCTX_NOHEADER) == 0;
  if (all_known && std::none_of(format->streams, format->streams + format->nb_streams,
                                [](const AVStream* stream) { return is_video(*stream); })) {
    return false;
  }
  const AvPointer<AVPacket> packet(allocated(av_packet_alloc()));
  int found = 0;
  while (found < 2 && av_read_frame(format.get(), packet.get()) >= 0) {
    if (is_video(*format->streams[packet->stream_index])) ++found;
    av_packet_unref(packet.get());
  }
  return found == 1;
}

}  // namespace tome::cli
