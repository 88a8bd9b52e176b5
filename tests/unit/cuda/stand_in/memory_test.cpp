// Memory that runs out: what the pool keeps for later is given up before a request fails.
#include "cuda/stand_in/fixtures.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

class StandInMemory : public StandIn {
 protected:
  static constexpr int kFrames = 1000;

  /// Leaves the pool with the blocks of a window of frames that was let go.
  void fill_pool(CudaSession& session) {
    const size_t used = device(0).used;
    const auto frame = pictures(1)[0];
    std::vector<PatchesPtr> window;
    for (int i = 0; i < kFrames; ++i) window.push_back(session.preprocess_one(frame));
    window.clear();
    EXPECT_GT(device(0).used, used + (size_t{20} << 20));
  }
  static std::vector<PatchesPtr> preprocess(CudaSession& session,
                                            const std::vector<Frame>& frames) {
    std::vector<PreprocessJob> jobs;
    for (const Frame& frame : frames) jobs.push_back({&frame, nullptr, nullptr});
    session.preprocess(jobs);
    std::vector<PatchesPtr> patches;
    for (const PreprocessJob& job : jobs) patches.push_back(job.patches);
    return patches;
  }
  int failed() const { return machine.counts.failed_allocations; }
};

TEST_F(StandInMemory, AForwardTakesWhatThePoolKeeps) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    run(*session, pictures(1), 1, {});
    fill_pool(*session);
    device(0).capacity = device(0).used + (1 << 20);
    const int before_it = failed();
    EXPECT_NO_THROW(run(*session, pictures(8), 1, {}));
    EXPECT_EQ(failed(), before_it + 1);
    EXPECT_NO_THROW(run(*session, pictures(8), 1, {}));
    EXPECT_EQ(failed(), before_it + 1) << "it has its memory";
  });
  expect_nothing_left();
}

TEST_F(StandInMemory, AForwardThatDoesNotFitFailsAndTheSessionWorksOn) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    run(*session, pictures(1), 1, {});
    device(0).capacity = device(0).used + 1000;
    try {
      run(*session, pictures(60), 1, {});
      FAIL() << "fitted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory) << error.what();
    }
    device(0).capacity = stand_in::kCapacity;
    EXPECT_NO_THROW(run(*session, pictures(60), 1, {}));
  });
  expect_nothing_left();
}

TEST_F(StandInMemory, FramesTakeWhatThePoolKeeps) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    run(*session, pictures(1), 1, {});
    fill_pool(*session);
    device(0).capacity = device(0).used + 100'000;
    const Frame large = picture(PixelFormat::kRgb, 1920, 1080, 1);
    const int before_it = failed();
    EXPECT_NE(session->preprocess_one(large), nullptr);
    EXPECT_EQ(failed(), before_it + 1);
  });
  expect_nothing_left();
}

/// A batch's block, for which those of single frames are too small.
TEST_F(StandInMemory, PatchesTakeWhatThePoolKeeps) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const auto frames = pictures(8);
    const auto kept = preprocess(*session, frames);
    fill_pool(*session);
    device(0).capacity = device(0).used + 100'000;
    const int before_it = failed();
    EXPECT_NO_THROW(preprocess(*session, frames));
    EXPECT_EQ(failed(), before_it + 1);
  });
  expect_nothing_left();
}

TEST_F(StandInMemory, AProductWithoutMemorySaysHowMuchIsFree) {
  in_a_new_thread([&] {
    const Model model(small(), ElementType::kBfloat16, 1);
    const auto session = model.session();
    machine.failures.product_status = 3;
    try {
      run(*session, pictures(2), 1, {});
      FAIL() << "multiplied";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
      const std::string text = error.what();
      EXPECT_NE(text.find("(allocation failed) on cuda:1; "), std::string::npos) << text;
      EXPECT_NE(text.find("are free"), std::string::npos) << text;
      EXPECT_EQ(text.find("lost"), std::string::npos) << text;
    }
    machine.failures.product_status = 0;
    EXPECT_NO_THROW(run(*session, pictures(2), 1, {}));
  });
  expect_nothing_left();
}

}  // namespace
}  // namespace tome::testing
