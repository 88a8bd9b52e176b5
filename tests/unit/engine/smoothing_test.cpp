// What scores are smoothed with: those before them, but nothing from before a cut.
#include <gtest/gtest.h>

#include "fake_session.h"

namespace tome {
namespace {

using testing::FakeModel;
using testing::submit;

/// A stream of single frames or of clips of this length, whose results weigh the past by 0.75. The
/// fake's softmax is 1 for class tag % 4 and 0 for the others.
struct Smoothing : ::testing::TestWithParam<int64_t> {
  Smoothing() : model(1, GetParam()) {
    StreamConfig config;
    config.smoothing = 0.75;
    stream = model.stream(config);
  }

  /// Submits one frame, or those of one clip. @return the score of their own class
  float score(int tag, FrameOptions options = {}) {
    std::shared_ptr<Ticket> last;
    for (int64_t i = 0; i < GetParam(); ++i) {
      last = submit(*stream, tag, options);
      options.discont = false;
    }
    return score_of(*last, tag);
  }

  static float score_of(const Ticket& ticket, int tag) {
    EXPECT_EQ(ticket.wait(), Outcome::kResult);
    for (const LabelScore& score : ticket.results().at(0).scores) {
      if (score.id == tag % 4) return score.score;
    }
    ADD_FAILURE() << "no score for class " << tag % 4;
    return -1;
  }

  FakeModel model;
  std::unique_ptr<Stream> stream;
};

TEST_P(Smoothing, WeighsThePast) {
  EXPECT_FLOAT_EQ(score(0), 1);
  EXPECT_FLOAT_EQ(score(1), 0.25);
  EXPECT_FLOAT_EQ(score(1), 0.75 * 0.25 + 0.25);
}

TEST_P(Smoothing, ADiscontinuityCutsIt) {
  EXPECT_FLOAT_EQ(score(1), 1);
  FrameOptions jump;
  jump.discont = true;
  EXPECT_FLOAT_EQ(score(2, jump), 1);
  EXPECT_FLOAT_EQ(score(3), 0.25);
}

TEST_P(Smoothing, AFlushCutsIt) {
  EXPECT_FLOAT_EQ(score(2), 1);
  stream->flush();
  EXPECT_FLOAT_EQ(score(3), 1);
  EXPECT_FLOAT_EQ(score(0), 0.25);
}

INSTANTIATE_TEST_SUITE_P(FramesAndClips, Smoothing, ::testing::Values(1, 2));

using ClipSmoothing = Smoothing;

TEST_P(ClipSmoothing, TheEndOfTheStreamCutsItBehindTheLastWindow) {
  EXPECT_FLOAT_EQ(score(2), 1);
  submit(*stream, 3)->wait();
  const auto last = stream->drain();
  ASSERT_NE(last, nullptr);
  EXPECT_FLOAT_EQ(score_of(*last, 3), 0.25);
  EXPECT_FLOAT_EQ(score(0), 1);
}

INSTANTIATE_TEST_SUITE_P(Clips, ClipSmoothing, ::testing::Values(2));

using RegionSmoothing = Smoothing;

/// The engine does not know which object a region shows.
TEST_P(RegionSmoothing, RegionsStandAlone) {
  FrameOptions part;
  part.regions = {{0, 0, 4, 4}};
  EXPECT_FLOAT_EQ(score(0, part), 1);
  EXPECT_FLOAT_EQ(score(1, part), 1);
  EXPECT_FLOAT_EQ(score(0), 1) << "nor do full frames continue them";
  EXPECT_FLOAT_EQ(score(1, part), 1);
  EXPECT_FLOAT_EQ(score(1), 0.25) << "nor see them between";
}

INSTANTIATE_TEST_SUITE_P(Frames, RegionSmoothing, ::testing::Values(1));

}  // namespace
}  // namespace tome
