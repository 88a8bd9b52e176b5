// Which frames of a video are kept, and for how long.
#include "train/video.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <latch>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "scratch_folder.h"
#include "train/video_cache.h"

namespace tome::train {
namespace {

namespace fs = std::filesystem;

/// A grey level for each frame number that tells it from those near it.
double level(int64_t number) { return 20 + 3 * static_cast<double>(number % 64); }

class VideoTest : public ScratchFolderTest {
 protected:
  Video read(int frames, int64_t stride, int64_t clip_frames = 4) {
    const std::string file = (folder_ / (std::to_string(frames) + ".avi")).string();
    if (!fs::exists(file)) {
      cv::VideoWriter video(file, cv::CAP_FFMPEG, cv::VideoWriter::fourcc('M', 'J', 'P', 'G'), 25,
                            {16, 16});
      for (int i = 0; i < frames; ++i) {
        video.write(cv::Mat(16, 16, CV_8UC3, cv::Scalar::all(level(i))));
      }
    }
    return read_video(file, {16, stride, clip_frames});
  }

  /// Frame i is number i * step.
  static void expect_in_place(const Video& video) {
    for (size_t i = 0; i < video.frames.size(); ++i) {
      const int64_t number = static_cast<int64_t>(i) * video.step;
      ASSERT_NEAR(cv::mean(video.frames[i])[0], level(number), 1.4) << i << " x " << video.step;
    }
  }
};

TEST_F(VideoTest, AShortOneIsKeptWhole) {
  for (const int64_t stride : {0, 1, 8}) {
    const Video video = read(256, stride);
    EXPECT_EQ(video.frames.size(), 256U);
    EXPECT_EQ(video.step, 1);
    EXPECT_FALSE(video.cut);
    expect_in_place(video);
  }
}

TEST_F(VideoTest, ALongOneIsSpreadOverAllOfIt) {
  for (const int frames : {257, 600, 1100}) {
    const Video video = read(frames, 0);
    EXPECT_GE(video.frames.size(), 128U);
    EXPECT_LE(video.frames.size(), 256U);
    const auto kept = static_cast<int64_t>(video.frames.size());
    EXPECT_LT((kept - 1) * video.step, frames);
    EXPECT_GE(kept * video.step, frames) << "its end is not there";
    EXPECT_FALSE(video.cut);
    expect_in_place(video);
  }
  const Video clip = read(1100, 0, 400);  // of a model that takes more frames than that
  EXPECT_EQ(clip.frames.size(), 550U);
  expect_in_place(clip);
}

TEST_F(VideoTest, OfALongOneAtAStrideOnlyItsMultiplesAreKept) {
  const Video video = read(1100, 3);
  EXPECT_EQ(video.step, 3);
  EXPECT_EQ(video.frames.size(), 367U);
  EXPECT_FALSE(video.cut);
  expect_in_place(video);
}

TEST_F(VideoTest, AtAStrideTheLongestAreCutAndSaySo) {
  const Video video = read(1100, 1);
  EXPECT_EQ(video.frames.size(), 1024U);
  EXPECT_TRUE(video.cut);
  expect_in_place(video);
  EXPECT_EQ(read(1100, 1, 1050).frames.size(), 1050U);
  EXPECT_FALSE(read(1024, 1).cut);
}

/// A film of JPEG pictures whose pixels are to be shown `n` to `d` wide.
void write_film(const fs::path& file, const cv::Mat& picture, uint8_t n, uint8_t d) {
  std::vector<uint8_t> jpeg;
  cv::imencode(".jpg", picture, jpeg, {cv::IMWRITE_JPEG_QUALITY, 100});
  constexpr std::array<uint8_t, 5> kJfif = {'J', 'F', 'I', 'F', 0};
  const auto at = std::search(jpeg.begin(), jpeg.end(), kJfif.begin(), kJfif.end());
  ASSERT_LT(at - jpeg.begin(), 64);
  const std::array<uint8_t, 5> aspect = {0, 0, n, 0, d};  // behind two bytes of version
  std::copy(aspect.begin(), aspect.end(), at + 7);
  std::ofstream film(file, std::ios::binary);
  for (int i = 0; i < 5; ++i) {
    film.write(reinterpret_cast<const char*>(jpeg.data()),
               static_cast<std::streamsize>(jpeg.size()));
  }
}

TEST_F(VideoTest, PixelsComeOutSquare) {
  // A disc as it is stored: 2/1 wide pixels make it round.
  cv::Mat picture(96, 64, CV_8UC3, cv::Scalar::all(0));
  cv::ellipse(picture, {32, 48}, {16, 32}, 0, 0, 360, cv::Scalar::all(255), cv::FILLED);
  for (const auto& [n, d, side, size] :
       std::vector<std::tuple<int, int, int, cv::Size>>{{2, 1, 256, {128, 96}},
                                                        {2, 1, 48, {64, 48}},
                                                        {1, 2, 256, {32, 96}},
                                                        {1, 1, 256, {64, 96}},
                                                        {1, 200, 256, {64, 96}}}) {
    const fs::path file = folder_ / "film.mjpg";
    write_film(file, picture, static_cast<uint8_t>(n), static_cast<uint8_t>(d));
    const Video video = read_video(file, {side, 0, 1});
    ASSERT_GE(video.frames.size(), 4U);
    const cv::Mat& frame = video.frames[0];
    EXPECT_EQ(frame.size(), size) << n << "/" << d;
    if (n != 2) continue;
    std::vector<cv::Mat> channels;
    cv::split(frame > 128, channels);
    const cv::Rect disc = cv::boundingRect(channels[0]);
    EXPECT_NEAR(disc.width, disc.height, 2) << side;
  }
}

TEST_F(VideoTest, AllFramesAreAsLargeAsTheFirst) {
  const fs::path file = folder_ / "changes.mjpg";
  std::ofstream film(file, std::ios::binary);
  for (const auto& [width, height, grey] :
       {std::tuple{32, 24, 100}, std::tuple{16, 12, 150}, std::tuple{24, 32, 200}}) {
    for (int i = 0; i < 3; ++i) {
      std::vector<uint8_t> jpeg;
      cv::imencode(".jpg", cv::Mat(height, width, CV_8UC3, cv::Scalar::all(grey)), jpeg);
      film.write(reinterpret_cast<const char*>(jpeg.data()),
                 static_cast<std::streamsize>(jpeg.size()));
    }
  }
  film.close();
  const Video video = read_video(file, {256, 0, 1});
  ASSERT_EQ(video.frames.size(), 9U);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(video.frames[i].size(), cv::Size(32, 24)) << i;
    EXPECT_NEAR(cv::mean(video.frames[i])[0], 100 + 50 * static_cast<double>(i / 3), 2) << i;
  }
}

Video of_bytes(int bytes) { return {{cv::Mat(1, bytes, CV_8UC1)}}; }

TEST(VideoCache, WhatWasUsedLongestAgoGoesFirst) {
  VideoCache cache(1000);
  std::vector<std::string> read;
  const auto use = [&](const std::string& name, int bytes) {
    const auto video = cache.get(name, [&] {
      read.push_back(name);
      return of_bytes(bytes);
    });
    EXPECT_EQ(video->bytes(), static_cast<size_t>(bytes));
    EXPECT_LE(cache.bytes(), 1000U);
  };
  use("a", 400);
  use("b", 400);
  use("a", 400);
  use("c", 400);  // b goes
  use("a", 400);
  use("c", 400);
  EXPECT_EQ(read, (std::vector<std::string>{"a", "b", "c"}));
  use("b", 400);  // a goes
  EXPECT_EQ(cache.bytes(), 800U);
  use("huge", 1001);  // for which nobody has to go
  use("b", 400);
  use("c", 400);
  use("whole", 1000);
  EXPECT_EQ(cache.bytes(), 1000U);
  EXPECT_EQ(read, (std::vector<std::string>{"a", "b", "c", "b", "huge", "whole"}));
}

TEST(VideoCache, OfNoSizeKeepsNothing) {
  VideoCache cache(0);
  int reads = 0;
  for (int i = 0; i < 3; ++i) {
    cache.get("a", [&] {
      ++reads;
      return of_bytes(1);
    });
  }
  EXPECT_EQ(reads, 3);
  EXPECT_EQ(cache.bytes(), 0U);
}

TEST(VideoCache, ThreadsReadSideBySide) {
  VideoCache cache(1000);
  std::latch both(2);
  // Each read waits for the other one, which a lock around it would never let begin.
  const auto use = [&](const std::string& name) {
    cache.get(name, [&] {
      both.arrive_and_wait();
      return of_bytes(100);
    });
  };
  {
    const std::jthread first([&] { use("a"); });
    const std::jthread second([&] { use("b"); });
  }
  EXPECT_EQ(cache.bytes(), 200U);
}

TEST(VideoCache, ManyThreadsNeverHoldMoreThanItsSize) {
  VideoCache cache(1000);
  const auto work = [&](int seed) {
    for (int i = 0; i < 2000; ++i) {
      const int size = 1 + (i * 7 + seed * 13) % 31 * 10;
      const auto video = cache.get(std::to_string(size), [&] { return of_bytes(size); });
      ASSERT_EQ(video->bytes(), static_cast<size_t>(size));
      ASSERT_LE(cache.bytes(), 1000U);
    }
  };
  std::vector<std::jthread> threads;
  for (int seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
}

TEST(VideoCache, TheDefaultIsAShareOfTheMemory) {
  EXPECT_GE(default_cache_bytes(), size_t{256} << 20U);
}

}  // namespace
}  // namespace tome::train
