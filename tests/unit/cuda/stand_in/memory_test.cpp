// Memory that runs out: what the pool keeps for later is given up before a request fails, which
// says how much there was; the CPU works on.

#include <string>

#include "cuda/stand_in/cpu_beside.h"
#include "cuda/stand_in/fixtures.h"
#include "engine/open_model.h"
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

  /// Of the allocation that failed last, on cuda:0.
  void expect_sizes(const Error& error, const std::string& what) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    EXPECT_EQ(error.what(),
              what + " on cuda:0: asked for " + std::to_string(machine.counts.refused) +
                  " bytes; " + std::to_string(machine.counts.left) + " of " +
                  std::to_string(device(0).capacity) + " bytes of device memory are free");
  }
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
    BatchInput input;
    input.batch = 60;
    input.frames = preprocess(*session, pictures(60));
    device(0).capacity = device(0).used + 1000;
    try {
      session->forward(input);
      FAIL() << "fitted";
    } catch (const Error& error) {
      expect_sizes(error, "a forward's memory");
      constexpr size_t kTokens = 65, kTensors = 2;  // at the least, in bf16
      EXPECT_GE(machine.counts.refused, 60 * kTokens * 128 * 2 * kTensors);
    }
    device(0).capacity = stand_in::kCapacity;
    EXPECT_NO_THROW(session->forward(input));
    input.frames.clear();
    EXPECT_NO_THROW(run(*session, pictures(60), 1, {}));
  });
  expect_nothing_left();
}

TEST_F(StandInMemory, FramesThatDoNotFitFailAndTheSessionWorksOn) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    run(*session, pictures(1), 1, {});
    device(0).capacity = device(0).used + 1000;
    try {
      run(*session, pictures(60), 1, {});
      FAIL() << "fitted";
    } catch (const Error& error) {
      expect_sizes(error, "patches of frames");
      EXPECT_EQ(machine.counts.refused, 60U * 64 * 64 * 3 * 2) << "in bf16";
    }
    device(0).capacity = stand_in::kCapacity;
    EXPECT_NO_THROW(run(*session, pictures(60), 1, {}));
  });
  expect_nothing_left();
}

TEST_F(StandInMemory, WhereDevicesAreFullTheCpuOfTheSameProcessWorksOn) {
  in_a_new_thread([&] {
    const CpuBeside cpu;
    device(0).capacity = device(0).used + 1000;
    try {
      open_model(cpu.on("cuda:0", "bf16"));
      ADD_FAILURE() << "fitted";
    } catch (const Error& error) {
      expect_sizes(error, "weights");
    }
    for (stand_in::Device& each : machine.devices) each.cannot_be_chosen = kOutOfMemory;
    cpu.expect_works_on("bytes of device memory are free");
    expect_no_context();
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
