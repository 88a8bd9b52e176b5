// Pictures and videos as the tools read them: colours, times, orientation, and what is none.
#include "media_reader.h"
#include "error_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "error_of.h"
#include "film_writer.h"
#include "frame_pixels.h"
#include "quiet_decoders.h"
#include "scratch_folder.h"
#include "tome_error.h"

namespace tome::train {
namespace {

namespace fs = std::filesystem;

constexpr int kBarWidth = 16;
constexpr std::array<std::array<int, 3>, 8> kBars = {{{235, 235, 235},
                                                      {200, 180, 20},
                                                      {20, 180, 200},
                                                      {30, 180, 30},
                                                      {180, 30, 180},
                                                      {190, 20, 20},
                                                      {20, 20, 190},
                                                      {16, 16, 16}}};

struct Colours {
  double kr, kb;
  bool full;
};

constexpr Colours kBt601 = {0.299, 0.114, false};
constexpr Colours kBt709 = {0.2126, 0.0722, false};
constexpr Colours kBt2020 = {0.2627, 0.0593, false};
constexpr Colours kBt709Full = {0.2126, 0.0722, true};

/// The definition of ITU-R BT.601, BT.709 and BT.2020.
std::array<int, 3> to_yuv(const std::array<int, 3>& rgb, const Colours& colours) {
  const double luma =
      colours.kr * rgb[0] + (1 - colours.kr - colours.kb) * rgb[1] + colours.kb * rgb[2];
  const double u = (rgb[2] - luma) / (2 * (1 - colours.kb));
  const double v = (rgb[0] - luma) / (2 * (1 - colours.kr));
  const double y_scale = colours.full ? 1 : 219.0 / 255;
  const double c_scale = colours.full ? 1 : 224.0 / 255;
  return {static_cast<int>(std::lround(luma * y_scale + (colours.full ? 0 : 16))),
          static_cast<int>(std::lround(u * c_scale + 128)),
          static_cast<int>(std::lround(v * c_scale + 128))};
}

class MediaReaderTest : public ScratchFolderTest {
 protected:
  /// A film of the bars in that matrix and range, tagged so if `tagged`.
  FilmSpec bars(const Colours& colours, AVColorSpace tag, AVPixelFormat format = AV_PIX_FMT_YUV420P,
                int height = 48) {
    FilmSpec spec;
    spec.file = folder_ / "bars.mkv";
    spec.format = format;
    spec.width = kBarWidth * static_cast<int>(kBars.size());
    spec.height = height;
    spec.matrix = tag;
    spec.range = colours.full ? AVCOL_RANGE_JPEG : AVCOL_RANGE_UNSPECIFIED;
    const int shift = format == AV_PIX_FMT_YUV444P ? 0 : 1;
    const int scale = format == AV_PIX_FMT_YUV420P10LE ? 4 : 1;
    write_film(spec, {0, 40}, [&](AVFrame& frame, int) {
      for (size_t bar = 0; bar < kBars.size(); ++bar) {
        const auto yuv = to_yuv(kBars[bar], colours);
        for (int plane = 0; plane < 3; ++plane) {
          const int by = plane == 0 ? 0 : shift;
          fill(frame, plane, static_cast<int>(bar) * kBarWidth >> by, 0, kBarWidth >> by,
               height >> by, yuv[plane] * scale);
        }
      }
    });
    return spec;
  }

  static Frame first_frame(const fs::path& file) {
    Frame first;
    cli::for_each_frame(file, [&](const Frame& frame, int64_t, double) {
      first = frame;
      return false;
    });
    return first;
  }

  /// The middles of all bars, at full and at half size.
  static void expect_bars(const fs::path& file) {
    const Frame frame = first_frame(file);
    for (const int part : {1, 2}) {
      const cv::Mat rgb = cli::rgb_pixels(frame, {frame.width / part, frame.height / part});
      for (size_t bar = 0; bar < kBars.size(); ++bar) {
        const int x = (static_cast<int>(bar) * kBarWidth + kBarWidth / 2) / part;
        const auto pixel = rgb.at<cv::Vec3b>(rgb.rows / 2, x);
        for (int channel = 0; channel < 3; ++channel) {
          EXPECT_NEAR(pixel[channel], kBars[bar][channel], 2) << "bar " << bar << ' ' << channel;
        }
      }
    }
  }

  static cv::Vec3b rgb_at(const Frame& frame, int x, int y) {
    return cli::rgb_pixels(frame, {frame.width, frame.height}).at<cv::Vec3b>(y, x);
  }

  std::vector<double> times_of(const fs::path& file) {
    std::vector<double> times;
    cli::for_each_frame(file, [&](const Frame&, int64_t index, double time) {
      EXPECT_EQ(index, static_cast<int64_t>(times.size()));
      times.push_back(time);
      return true;
    });
    return times;
  }
};

using testing::error_of;

std::string read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

TEST_F(MediaReaderTest, ColoursAreThoseThatTheFileNames) {
  struct Case {
    Colours colours;
    AVColorSpace tag;
    ColorMatrix matrix;
  };
  for (const Case& c : {Case{kBt601, AVCOL_SPC_SMPTE170M, ColorMatrix::kBt601},
                        Case{kBt601, AVCOL_SPC_BT470BG, ColorMatrix::kBt601},
                        Case{kBt709, AVCOL_SPC_BT709, ColorMatrix::kBt709},
                        Case{kBt709Full, AVCOL_SPC_BT709, ColorMatrix::kBt709},
                        Case{kBt2020, AVCOL_SPC_BT2020_NCL, ColorMatrix::kBt2020}}) {
    SCOPED_TRACE(av_color_space_name(c.tag));
    const FilmSpec film = bars(c.colours, c.tag);
    expect_bars(film.file);
    const Frame frame = first_frame(film.file);
    EXPECT_EQ(frame.format, PixelFormat::kI420);
    EXPECT_EQ(frame.matrix, c.matrix);
    EXPECT_EQ(frame.range, c.colours.full ? ColorRange::kFull : ColorRange::kLimited);
    for (int plane = 0; plane < 3; ++plane) {  // of the last bar but one
      const uint8_t* row = frame.planes[plane].data;
      EXPECT_EQ(row[(6 * kBarWidth + 8) >> (plane == 0 ? 0 : 1)],
                to_yuv(kBars[6], c.colours)[plane]);
    }
  }
}

TEST_F(MediaReaderTest, ColoursOfOtherLayoutsToo) {
  expect_bars(bars(kBt709, AVCOL_SPC_BT709, AV_PIX_FMT_YUV444P).file);
  EXPECT_EQ(first_frame(folder_ / "bars.mkv").format, PixelFormat::kBgr);
  const FilmSpec deep = bars(kBt709, AVCOL_SPC_BT709, AV_PIX_FMT_YUV420P10LE);
  expect_bars(deep.file);
  const Frame frame = first_frame(deep.file);
  ASSERT_EQ(frame.format, PixelFormat::kP010);
  const auto yuv = to_yuv(kBars[1], kBt709);
  const auto* luma = reinterpret_cast<const uint16_t*>(frame.planes[0].data);
  const auto* chroma = reinterpret_cast<const uint16_t*>(frame.planes[1].data);
  EXPECT_EQ(luma[kBarWidth + 8], yuv[0] * 4 << 6);
  EXPECT_EQ(chroma[kBarWidth + 8], yuv[1] * 4 << 6);
  EXPECT_EQ(chroma[kBarWidth + 9], yuv[2] * 4 << 6);
}

TEST_F(MediaReaderTest, ColoursThatNobodyNamesGoByTheHeight) {
  expect_bars(bars(kBt601, AVCOL_SPC_UNSPECIFIED, AV_PIX_FMT_YUV420P, 576).file);
  expect_bars(bars(kBt709, AVCOL_SPC_UNSPECIFIED, AV_PIX_FMT_YUV420P, 578).file);
}

TEST_F(MediaReaderTest, GreyIsFullRange) {
  FilmSpec spec;
  spec.file = folder_ / "grey.mkv";
  spec.format = AV_PIX_FMT_GRAY8;
  write_film(spec, {0, 40}, [](AVFrame& frame, int) { fill(frame, 0, 200); });
  EXPECT_EQ(first_frame(spec.file).format, PixelFormat::kGray8);
  EXPECT_EQ(first_frame(spec.file).planes[0].data[5], 200);
  EXPECT_EQ(rgb_at(first_frame(spec.file), 5, 5), cv::Vec3b(200, 200, 200));
}

void paint_grey(AVFrame& frame, int index) {
  fill(frame, 0, 40 + 20 * index);
  for (const int plane : {1, 2}) fill(frame, plane, 128);
}

TEST_F(MediaReaderTest, TimesAreThoseOfTheFile) {
  const std::vector<int64_t> written = {0, 40, 100, 333, 900, 1000, 1700, 1733, 2800};
  for (const auto& [codec, held_back] :
       {std::pair{AV_CODEC_ID_FFV1, 0}, std::pair{AV_CODEC_ID_MPEG4, 2}}) {
    FilmSpec spec;
    spec.file = folder_ / "uneven.mkv";
    spec.codec = codec;
    spec.held_back = held_back;
    write_film(spec, written, paint_grey);
    const std::vector<double> times = times_of(spec.file);
    ASSERT_EQ(times.size(), written.size()) << held_back;
    for (size_t i = 0; i < times.size(); ++i) {
      EXPECT_NEAR(times[i], static_cast<double>(written[i]) / 1000, 1e-6) << held_back << ' ' << i;
    }
    EXPECT_EQ(cli::count_frames(spec.file), static_cast<int64_t>(written.size()));
  }
}

TEST_F(MediaReaderTest, TimesBeginWithTheVideo) {
  FilmSpec spec;  // in which nothing but the order of decoding is told
  spec.file = folder_ / "late.avi";
  spec.codec = AV_CODEC_ID_MPEG4;
  spec.held_back = 1;
  spec.time_base = {1, 10};
  write_film(spec, {0, 1, 2, 3, 4, 5, 6}, paint_grey);
  std::vector<double> times = times_of(spec.file);
  ASSERT_EQ(times.size(), 7U);
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_NEAR(times[i], 0.1 * static_cast<double>(i), 1e-6) << i;
  }

  FilmSpec damaged;
  damaged.file = folder_ / "damaged.mkv";
  damaged.codec = AV_CODEC_ID_MJPEG;
  damaged.format = AV_PIX_FMT_YUVJ420P;
  write_film(damaged, {1000, 1040, 1100}, paint_grey);
  std::string film = read_bytes(damaged.file);
  const size_t begin = film.find("\xff\xd8\xff");
  const size_t size = film.find("\xff\xd9", begin) - begin;
  film.replace(begin, size, size, '\0');
  write_bytes(damaged.file, film);
  times = times_of(damaged.file);
  ASSERT_EQ(times.size(), 2U);
  EXPECT_NEAR(times[0], 0.04, 1e-6) << "the first was lost, and the others moved";
  EXPECT_NEAR(times[1], 0.1, 1e-6);
}

TEST_F(MediaReaderTest, NamesAreNoPatterns) {
  FilmSpec spec;
  spec.file = folder_ / "film.gif";
  spec.codec = AV_CODEC_ID_GIF;
  spec.format = AV_PIX_FMT_GRAY8;
  write_film(spec, {0, 100, 200}, [](AVFrame& frame, int index) { fill(frame, 0, 40 * index); });
  for (const char* name : {"img%03d.gif", "50%discount.gif", "what?.gif", "%*.gif", "{1}[a].gif"}) {
    fs::copy_file(spec.file, folder_ / name);
    EXPECT_FALSE(cli::is_picture(folder_ / name)) << name;
    EXPECT_EQ(cli::count_frames(folder_ / name), 3) << name;
  }
  for (const char* name : {"img001.jpg", "img002.jpg"}) {
    cv::imwrite((folder_ / name).string(), cv::Mat(16, 16, CV_8UC3, cv::Scalar::all(200)));
  }
  const fs::path damaged = folder_ / "img%03d.jpg";
  write_bytes(damaged, std::string(500, 'x'));
  EXPECT_TRUE(cli::is_picture(damaged));
  const std::string said = error_of([&] { cli::read_picture(damaged); });
  EXPECT_NE(said.find("img%03d.jpg: found damaged or unknown data"), std::string::npos) << said;
}

TEST_F(MediaReaderTest, DisplayMatricesTurnAndMirror) {
  FilmSpec spec;
  spec.file = folder_ / "corner.mp4";
  spec.codec = AV_CODEC_ID_MPEG4;
  write_film(spec, {0, 40}, [](AVFrame& frame, int) {
    fill(frame, 0, 40);
    fill(frame, 0, 0, 0, 32, 24, 150);
    for (const int plane : {1, 2}) fill(frame, plane, 128);
    fill(frame, 1, 0, 0, 16, 12, 190);
  });
  std::string film = read_bytes(spec.file);
  constexpr size_t kMatrixBehindType = 44;
  const size_t at = film.find("tkhd") + kMatrixBehindType;
  struct Case {
    std::array<int, 4> matrix;  // a, b, c, d
    bool right, below;          // where the upper left corner is seen
  };
  for (const Case& c : {Case{{1, 0, 0, 1}, false, false}, Case{{0, 1, -1, 0}, true, false},
                        Case{{-1, 0, 0, -1}, true, true}, Case{{0, -1, 1, 0}, false, true},
                        Case{{-1, 0, 0, 1}, true, false}, Case{{1, 0, 0, -1}, false, true},
                        Case{{0, 1, 1, 0}, false, false}, Case{{0, -1, -1, 0}, true, true}}) {
    constexpr std::array<size_t, 4> kPlaces = {0, 4, 12, 16};
    for (size_t i = 0; i < 4; ++i) {  // of 16.16 bits, big endian
      const int high = c.matrix[i];
      film[at + kPlaces[i]] = static_cast<char>(high >> 8);
      film[at + kPlaces[i] + 1] = static_cast<char>(high);
    }
    write_bytes(folder_ / "turned.mp4", film);
    const bool lying = c.matrix[0] == 0;
    const Frame frame = first_frame(folder_ / "turned.mp4");
    ASSERT_EQ(frame.width, lying ? 48 : 64);
    ASSERT_EQ(frame.height, lying ? 64 : 48);
    for (const bool below : {false, true}) {
      for (const bool right : {false, true}) {
        const int x = frame.width * (right ? 3 : 1) / 4;
        const int y = frame.height * (below ? 3 : 1) / 4;
        const bool here = right == c.right && below == c.below;
        const int value = rgb_at(frame, x, y)[0];
        EXPECT_EQ(value > 120, here) << ::testing::PrintToString(c.matrix) << ' ' << x << ',' << y;
        // Chroma goes with it: blue where the corner is.
        EXPECT_EQ(rgb_at(frame, x, y)[2] > value + 60, here);
      }
    }
  }
}

TEST_F(MediaReaderTest, AVideoOfOneFrameIsAPicture) {
  for (const auto& [name, codec, format] :
       {std::tuple{"film.mkv", AV_CODEC_ID_FFV1, AV_PIX_FMT_YUV420P},
        std::tuple{"film.gif", AV_CODEC_ID_GIF, AV_PIX_FMT_GRAY8}}) {
    FilmSpec spec;
    spec.file = folder_ / name;
    spec.codec = codec;
    spec.format = format;
    const auto paint = [](AVFrame& frame, int index) {
      fill(frame, 0, 100 + 50 * index);
      for (int plane = 1; frame.data[plane] != nullptr && plane < 3; ++plane) {
        if (frame.format == AV_PIX_FMT_YUV420P) fill(frame, plane, 128);
      }
    };
    write_film(spec, {0}, paint);
    EXPECT_TRUE(cli::is_picture(spec.file)) << name;
    const Frame picture = cli::read_picture(spec.file);
    const int level = format == AV_PIX_FMT_GRAY8 ? 100 : (100 - 16) * 255 / 219;
    EXPECT_NEAR(rgb_at(picture, 20, 20)[0], level, 2) << name;
    write_film(spec, {0, 100}, paint);
    EXPECT_FALSE(cli::is_picture(spec.file)) << name;
    EXPECT_EQ(cli::count_frames(spec.file), 2) << name;
  }
}

TEST_F(MediaReaderTest, TextIsNoVideo) {
  for (const char* name : {"notes.txt", "film.nfo", "art.ans", "art.xb", "no.srt"}) {
    const fs::path file = folder_ / name;
    write_bytes(file, "1\n00:00:01,000 --> 00:00:02,000\nWhat was said, at some length.\n\n");
    EXPECT_FALSE(cli::is_picture(file)) << name;
    const std::string said = error_of([&] { cli::count_frames(file); });
    EXPECT_NE(said.find(std::string(name) + ": found neither a picture nor a video"),
              std::string::npos)
        << name << ": " << said;
  }
}

TEST_F(MediaReaderTest, APictureThatEndsEarlyIsAnError) {
  cv::Mat noise(64, 64, CV_8UC3);
  cv::randu(noise, 0, 255);
  const fs::path file = folder_ / "picture.jpg";
  cv::imwrite(file.string(), noise);
  EXPECT_EQ(cli::read_picture(file).width, 64);
  // With a thumbnail, whose end is not that of the picture; fill bytes may stand before a marker.
  const std::string whole = read_bytes(file);
  const std::string thumbnail("\xff\xe1\x00\x06\xff\xd8\xff\xd9\xff", 9);
  const std::string tagged = whole.substr(0, 2) + thumbnail + whole.substr(2);
  write_bytes(file, tagged + "whatever follows");
  EXPECT_EQ(cli::read_picture(file).width, 64);
  for (const size_t size : {tagged.size() - 2, tagged.size() / 2, size_t{20}}) {
    write_bytes(file, tagged.substr(0, size));
    const std::string said = error_of([&] { cli::read_picture(file); });
    EXPECT_NE(said.find("picture.jpg: found a truncated JPEG"), std::string::npos) << said;
  }
}

TEST_F(MediaReaderTest, DecodersAreQuietAndTheProgramIsNot) {
  ::testing::internal::CaptureStderr();
  {
    const cli::OwnStderr own;
    const cli::QuietDecoders outer;
    {
      const cli::QuietDecoders inner;
      std::cerr << "a line of " << 1 << " program\n";
    }
    std::fputs("a decoder's\n", stderr);
    std::cerr << 'b' << std::endl;
  }
  std::cerr << "and after\n";
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "a line of 1 program\nb\nand after\n");
}

}  // namespace
}  // namespace tome::train
