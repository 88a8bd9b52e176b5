// Which frames of a stream make up which clip: Note [Windows].
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "engine/clip_window.h"

namespace tome {
namespace {

using Tags = std::vector<int>;

struct WindowTest : ::testing::Test {
  static PatchesPtr patches(int tag) {
    return std::make_shared<const Patches>(Patches{at::full({1}, tag)});
  }
  static Tags tags(const Window& window) {
    Tags found;
    for (const auto& frame : window.frames) found.push_back(frame->rows.item<int>());
    return found;
  }
  /// Frame `tag` of the stream, with pts 100 * tag; the window it completes, if that is due.
  std::optional<Tags> feed(ClipWindows& windows, int tag) {
    const bool needed = windows.advance();
    if (needed) needed_.push_back(tag);
    std::optional<Window> window = windows.push(needed ? patches(tag) : nullptr, 100 * tag);
    if (!window) return std::nullopt;
    last_ = *std::move(window);
    return tags(last_);
  }
  /// All windows that frames 0 to n - 1 complete.
  std::vector<Tags> run(const WindowOptions& options, int n) {
    ClipWindows windows(options);
    std::vector<Tags> found;
    for (int i = 0; i < n; ++i) {
      if (auto complete = feed(windows, i)) found.push_back(*complete);
    }
    return found;
  }
  Tags needed_;
  Window last_;
};

TEST_F(WindowTest, EndToEnd) {
  EXPECT_EQ(run({4, 4, 1, 1}, 9), (std::vector<Tags>{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  EXPECT_EQ(last_.start_pts, 400);
  EXPECT_EQ(last_.end_pts, 700);
  EXPECT_EQ(last_.real_frames, 4U);
}

TEST_F(WindowTest, OverlappingByStride) {
  EXPECT_EQ(run({4, 2, 1, 1}, 8), (std::vector<Tags>{{0, 1, 2, 3}, {2, 3, 4, 5}, {4, 5, 6, 7}}));
  EXPECT_EQ(needed_, (Tags{0, 1, 2, 3, 4, 5, 6, 7})) << "each frame is needed once";
}

TEST_F(WindowTest, ApartByStride) {
  EXPECT_EQ(run({2, 5, 1, 1}, 12), (std::vector<Tags>{{0, 1}, {5, 6}, {10, 11}}));
  EXPECT_EQ(needed_, (Tags{0, 1, 5, 6, 10, 11})) << "frames between windows are not needed";
}

TEST_F(WindowTest, FrameStride) {
  EXPECT_EQ(run({3, 6, 2, 1}, 11), (std::vector<Tags>{{0, 2, 4}, {6, 8, 10}}));
  EXPECT_EQ(needed_, (Tags{0, 2, 4, 6, 8, 10}));
}

TEST_F(WindowTest, FrameStrideWithOverlap) {
  EXPECT_EQ(run({3, 1, 2, 1}, 7), (std::vector<Tags>{{0, 2, 4}, {1, 3, 5}, {2, 4, 6}}));
}

TEST_F(WindowTest, IntervalCountsWindows) {
  EXPECT_EQ(run({2, 2, 1, 3}, 14), (std::vector<Tags>{{0, 1}, {6, 7}, {12, 13}}));
  EXPECT_EQ(needed_, (Tags{0, 1, 6, 7, 12, 13}));
}

TEST_F(WindowTest, ADiscontinuityStartsAnewAndDoesNotCount) {
  ClipWindows windows({3, 3, 1, 2});
  EXPECT_FALSE(feed(windows, 0));
  EXPECT_FALSE(feed(windows, 1));
  windows.reset();
  EXPECT_FALSE(feed(windows, 2));
  EXPECT_FALSE(feed(windows, 3));
  EXPECT_EQ(feed(windows, 4), (Tags{2, 3, 4})) << "the dropped window was due, so this one is";
  for (int i = 5; i < 8; ++i) EXPECT_FALSE(feed(windows, i)) << "the second is not";
  feed(windows, 8);
  feed(windows, 9);
  EXPECT_EQ(feed(windows, 10), (Tags{8, 9, 10}));
}

struct Drained {
  int frames;
  std::optional<Tags> window;
};

TEST_F(WindowTest, DrainPadsAWindowOfAtLeastHalfItsFrames) {
  const Drained cases[] = {{0, {}}, {1, {}}, {2, Tags{0, 1, 1, 1}}, {3, Tags{0, 1, 2, 2}},
                           {4, {}}, {5, {}}, {6, Tags{4, 5, 5, 5}}, {7, Tags{4, 5, 6, 6}},
                           {8, {}}};
  for (const Drained& expected : cases) {
    ClipWindows windows({4, 4, 1, 1});
    for (int i = 0; i < expected.frames; ++i) feed(windows, i);
    const auto window = windows.drain();
    ASSERT_EQ(window.has_value(), expected.window.has_value()) << expected.frames;
    if (window) {
      EXPECT_EQ(tags(*window), *expected.window);
      EXPECT_EQ(window->real_frames, static_cast<uint32_t>(expected.frames % 4));
      EXPECT_EQ(window->end_pts, 100 * (expected.frames - 1));
    }
    EXPECT_FALSE(windows.drain()) << "once";
  }
}

TEST_F(WindowTest, AnOddLengthNeedsMoreThanHalf) {
  ClipWindows windows({5, 5, 1, 1});
  feed(windows, 0);
  feed(windows, 1);
  EXPECT_FALSE(windows.drain());
  for (int i = 0; i < 3; ++i) feed(windows, i);
  EXPECT_TRUE(windows.drain());
}

TEST_F(WindowTest, DrainDoesNotClassifyTheSameFramesAgain) {
  // Windows start at every second frame. After 6 frames the windows {0..3} and {2..5} are done, and
  // the open one, {4, 5}, has half its frames but none that was not classified.
  ClipWindows windows({4, 2, 1, 1});
  for (int i = 0; i < 6; ++i) feed(windows, i);
  EXPECT_FALSE(windows.drain());

  for (int i = 0; i < 7; ++i) feed(windows, i);  // frame 6 is new
  const auto window = windows.drain();
  ASSERT_TRUE(window);
  EXPECT_EQ(tags(*window), (Tags{4, 5, 6, 6}));
}

TEST_F(WindowTest, DrainCountsTheFramesThatAWindowSamples) {
  // Of windows {0, 2, 4, 6} and {4, 6, 8, ..}, 8 is new.
  ClipWindows windows({4, 4, 2, 1});
  for (int i = 0; i <= 8; ++i) feed(windows, i);
  const auto window = windows.drain();
  ASSERT_TRUE(window);
  EXPECT_EQ(tags(*window), (Tags{4, 6, 8, 8}));
  EXPECT_EQ(window->real_frames, 3U);
}

TEST_F(WindowTest, FramesAfterADiscontinuityAreNewToDrain) {
  ClipWindows windows({4, 4, 1, 1});
  for (int i = 0; i < 4; ++i) feed(windows, i);
  windows.reset();
  for (int i = 4; i < 6; ++i) EXPECT_FALSE(feed(windows, i));
  const auto window = windows.drain();
  ASSERT_TRUE(window);
  EXPECT_EQ(tags(*window), (Tags{4, 5, 5, 5}));
}

TEST_F(WindowTest, ADrainedWindowCountsForTheInterval) {
  ClipWindows windows({4, 4, 1, 2});
  feed(windows, 0);
  feed(windows, 1);
  ASSERT_TRUE(windows.drain());
  for (int i = 2; i < 9; ++i) EXPECT_FALSE(feed(windows, i)) << i;
  EXPECT_EQ(feed(windows, 9), (Tags{6, 7, 8, 9}));
}

TEST_F(WindowTest, DrainPassesOverWindowsThatAreNotDue) {
  ClipWindows windows({2, 2, 1, 2});
  for (int i = 0; i < 3; ++i) feed(windows, i);
  EXPECT_FALSE(windows.drain()) << "the second window is not due";
}

TEST_F(WindowTest, AStreamMayGoOnAfterDrain) {
  ClipWindows windows({2, 2, 1, 1});
  feed(windows, 0);
  EXPECT_TRUE(windows.drain());
  EXPECT_FALSE(feed(windows, 7));
  EXPECT_EQ(feed(windows, 8), (Tags{7, 8}));
}

}  // namespace
}  // namespace tome
