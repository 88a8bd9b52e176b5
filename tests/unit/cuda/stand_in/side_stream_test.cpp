// Devices without dependent launches (compute capability 8): matching runs on a stream beside
// attention's, which is forked and joined, in captures too.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/logged.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stand_in/runtime.h"
#include "engine/open_model.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

class StandInSideStream : public StandIn {
 protected:
  static constexpr int kAllocationFailed = 3, kExecutionFailed = 13;  // cuBLAS's

  void SetUp() override {
    StandIn::SetUp();
    for (stand_in::Device& each : machine.devices) each.major = 8;
    unfinished_before_ = stand_in::unfinished_streams();  // of devices that were lost
  }
  /// Streams of this test's with work that the host has not waited for.
  size_t unfinished() const { return stand_in::unfinished_streams() - unfinished_before_; }
  /// The next forward's: the patches and the first block's queries are multiplied, its matching is
  /// forked, and what attention gave cannot be multiplied.
  void fail_beside_matching(int status) {
    machine.failures.products_before = 2;
    machine.failures.product_status = status;
  }
  static size_t joins() {
    const auto steps = stand_in::last_graph();
    return static_cast<size_t>(
        std::count_if(steps.begin(), steps.end(),
                      [](const stand_in::Step& step) { return step.after.size() > 1; }));
  }
  static size_t ends() {
    const auto steps = stand_in::last_graph();
    std::vector<bool> ends(steps.size(), true);
    for (const stand_in::Step& step : steps) {
      for (const size_t before : step.after) ends[before] = false;
    }
    return static_cast<size_t>(std::count(ends.begin(), ends.end(), true));
  }

 private:
  size_t unfinished_before_ = 0;
};

TEST_F(StandInSideStream, MatchingRunsThereAndIsJoined) {
  in_a_new_thread([&] {
    const Model model(small());
    const Logged warnings(LogLevel::kWarning);
    for (const int64_t frames : {1, 3}) {  // of a clip, the tokens' split is there, too
      const auto session = model.session();
      for (int i = 0; i < 4; ++i) {
        run(*session, pictures(6), frames, {9, 9, 9});
        EXPECT_EQ(unfinished(), 0U) << "run " << i;
      }
      EXPECT_EQ(session->graphs(), 1U) << frames;
      EXPECT_GE(joins(), 3U) << "one of each block that merges";
      EXPECT_EQ(ends(), 1U);
    }
    EXPECT_EQ(warnings.text(), "");
  });
  expect_nothing_left();
}

TEST_F(StandInSideStream, DependentLaunchesNeedNone) {
  device(0).major = 9;
  in_a_new_thread([&] {
    const Model model(small());
    for (const int64_t frames : {1, 3}) {
      const auto session = model.session();
      for (int i = 0; i < 2; ++i) run(*session, pictures(6), frames, {10, 10, 10});
      EXPECT_EQ(session->graphs(), 1U) << frames;
      EXPECT_EQ(joins(), 0U);
      EXPECT_EQ(ends(), 1U);
    }
  });
  expect_nothing_left();
}

TEST_F(StandInSideStream, AModelOpensWithItsGraphs) {
  const TemporaryFolder folder;
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "cuda:1";
  config.batch_size = 4;
  in_a_new_thread([&] {
    const c10::InferenceMode inference;
    save_small_model(folder.path());
    const Logged warnings(LogLevel::kWarning);
    const OpenedModel opened = open_model(config);
    const auto* session = dynamic_cast<CudaSession*>(opened.session.session.get());
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->graphs(), 2U) << "of one request, of a full batch";
    EXPECT_EQ(warnings.text(), "");
  });
  expect_nothing_left();
}

/// A forward that merges nothing does not ask for the other stream, on which matching may still be
/// reading what it writes.
TEST_F(StandInSideStream, WhatAFailedForwardLeftThereIsWaitedForByTheNext) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const auto frames = pictures(2);
    fail_beside_matching(kExecutionFailed);
    EXPECT_THROW(run(*session, frames, 1, {11, 11, 11}), Error);
    EXPECT_EQ(unfinished(), 2U) << "both";
    machine.failures.product_status = 0;
    run(*session, frames, 1, {});
    EXPECT_EQ(unfinished(), 0U);
    const Logged warnings(LogLevel::kWarning);
    for (int i = 0; i < 3; ++i) run(*session, frames, 1, {11, 11, 11});
    EXPECT_EQ(session->graphs(), 1U);
    EXPECT_EQ(warnings.text(), "");
  });
  expect_nothing_left();
}

TEST_F(StandInSideStream, ACaptureThatFailsBesideMatchingLeavesBothStreamsFree) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const auto frames = pictures(2);
    const Logged warnings(LogLevel::kWarning);
    run(*session, frames, 1, {12, 12, 12});
    fail_beside_matching(kAllocationFailed);
    EXPECT_THROW(run(*session, frames, 1, {12, 12, 12}), Error) << "launched instead, in vain";
    EXPECT_NE(warnings.text().find("without CUDA graphs"), std::string::npos) << warnings.text();
    machine.failures.product_status = 0;
    EXPECT_NO_THROW(run(*session, frames, 1, {12, 12, 12}));
    EXPECT_EQ(unfinished(), 0U);
    EXPECT_EQ(session->graphs(), 0U);
    for (int i = 0; i < 2; ++i) run(*session, pictures(5), 1, {12, 12, 12});  // memory moves
    EXPECT_EQ(session->graphs(), 1U);
    EXPECT_EQ(warnings.lines(), 1U) << warnings.text();
  });
  expect_nothing_left();
}

TEST_F(StandInSideStream, ADeviceThatIsLostMeanwhileIsNamed) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    run(*session, pictures(2), 1, {13, 13, 13});
    machine.failures.lost_in_product = kIllegalAddress;
    try {
      run(*session, pictures(3), 1, {13, 13, 13});
      FAIL() << "multiplied";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("lost"), std::string::npos) << error.what();
    }
    device(0).lost = 0;
  });
  expect_nothing_left();
}

}  // namespace
}  // namespace tome::testing
