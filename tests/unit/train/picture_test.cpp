// Pictures as the tools read them, beside what OpenCV reads of the file itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "media_reader.h"
#include "scratch_folder.h"

namespace tome::train {
namespace {

namespace fs = std::filesystem;

using PictureTest = ScratchFolderTest;

void expect_as_opencv(const fs::path& file) {
  SCOPED_TRACE(file.filename());
  const cv::Mat expected = cv::imread(file.string(), cv::IMREAD_COLOR);
  ASSERT_FALSE(expected.empty());
  ASSERT_TRUE(cli::is_picture(file));
  const Frame frame = cli::read_picture(file);
  ASSERT_EQ(frame.format, PixelFormat::kBgr);
  ASSERT_EQ(cv::Size(frame.width, frame.height), expected.size());
  for (int y = 0; y < expected.rows; ++y) {
    const uint8_t* row = frame.planes[0].data + y * frame.planes[0].stride;
    ASSERT_TRUE(std::equal(row, row + int64_t{3} * frame.width, expected.ptr(y))) << y;
  }
}

TEST_F(PictureTest, EveryFormatIsDecodedAsFromTheFile) {
  cv::Mat noise(37, 53, CV_8UC3);
  cv::randu(noise, 0, 255);
  for (const char* ending : {"jpg", "JPEG", "png", "bmp", "webp", "tif", "ppm", "ras", "jp2"}) {
    const fs::path file = folder_ / (std::string("picture.") + ending);
    if (!cv::haveImageWriter(file.string())) continue;
    ASSERT_TRUE(cv::imwrite(file.string(), noise));
    expect_as_opencv(file);
  }
  cv::Mat deep(37, 53, CV_16UC1);
  cv::randu(deep, 0, 65535);
  for (const char* name : {"deep.png", "deep.tif"}) {
    ASSERT_TRUE(cv::imwrite((folder_ / name).string(), deep));
    expect_as_opencv(folder_ / name);
  }
  cv::Mat light(37, 53, CV_32FC3);  // decoded by way of a file
  cv::randu(light, 0, 1);
  ASSERT_TRUE(cv::imwrite((folder_ / "light.hdr").string(), light));
  expect_as_opencv(folder_ / "light.hdr");
}

TEST_F(PictureTest, JpegsAreTurnedAsTheirTagSays) {
  // Left half dark. An EXIF segment whose only entry is the orientation, behind the start of image.
  cv::Mat picture(16, 32, CV_8UC3, cv::Scalar::all(220));
  picture.colRange(0, 16).setTo(cv::Scalar::all(30));
  std::vector<uint8_t> plain;
  ASSERT_TRUE(cv::imencode(".jpg", picture, plain));
  const auto dark = [&](uint8_t orientation, double x, double y) {
    std::vector<uint8_t> tagged = {0xff, 0xd8,        0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f',
                                   0,    0,           'M',  'M',  0, 42, 0,   0,   0,   8,
                                   0,    1,           0x01, 0x12, 0, 3,  0,   0,   0,   1,
                                   0,    orientation, 0,    0,    0, 0,  0,   0};
    tagged.insert(tagged.end(), plain.begin() + 2, plain.end());
    const fs::path file = folder_ / "turned.jpg";
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(tagged.data()),
               static_cast<std::streamsize>(tagged.size()));
    const Frame frame = cli::read_picture(file);
    EXPECT_EQ(frame.width, orientation > 4 ? 16 : 32) << int{orientation};
    const auto column = static_cast<int64_t>(x * frame.width);
    const auto row = static_cast<int64_t>(y * frame.height);
    return frame.planes[0].data[row * frame.planes[0].stride + 3 * column] < 100;
  };
  EXPECT_TRUE(dark(1, 0.25, 0.5));
  EXPECT_TRUE(dark(2, 0.75, 0.5)) << "mirrored";
  EXPECT_TRUE(dark(3, 0.75, 0.5)) << "upside down";
  EXPECT_TRUE(dark(6, 0.5, 0.25)) << "a quarter clockwise";
  EXPECT_TRUE(dark(8, 0.5, 0.75)) << "a quarter counterclockwise";
}

}  // namespace
}  // namespace tome::train
