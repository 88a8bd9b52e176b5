// A device that is lost to the process: it is named, what lies on it is let go, and the CPU works
// on.

#include <string>

#include "cuda/device.h"
#include "cuda/logged.h"
#include "cuda/stand_in/cpu_beside.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stream.h"
#include "engine/open_model.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

class StandInLostDevice : public StandIn {
 protected:
  static constexpr const char* kLost = "; the device is lost to this process";

  /// What a forward says.
  static std::string failure(CudaSession& session) {
    try {
      run(session, pictures(2), 1, {3, 3, 3});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "ran";
    return {};
  }
  /// Of one whose every call answers so.
  std::string failure_on_device_that_answers(int error) {
    const Model model(small(), ElementType::kBfloat16, 1);
    const auto session = model.session();
    device(1).lost = error;
    std::string text = failure(*session);
    device(1).lost = 0;
    return text;
  }
};

/// cuBLASLt's status does not say it, and its runtime's last error is not ours.
TEST_F(StandInLostDevice, AProductThatLosesItSaysSo) {
  for (const int error : {kIllegalAddress, kUnknown}) {
    in_a_new_thread([&] {
      const Model model(small(), ElementType::kBfloat16, 1);
      const auto session = model.session();
      machine.failures.lost_in_product = error;
      const std::string text = failure(*session);
      EXPECT_NE(text.find("cuBLAS status 13 on cuda:1: CUDA error error " + std::to_string(error) +
                          kLost),
                std::string::npos)
          << text;
      device(1).lost = 0;
      expect_no_context();
    });
  }
  expect_nothing_left();
}

/// As one gives that fell off the bus.
TEST_F(StandInLostDevice, AnErrorWithoutACauseTellsItWhereEveryCallGivesIt) {
  in_a_new_thread([&] {
    const std::string text = failure_on_device_that_answers(kUnknown);
    EXPECT_NE(text.find(" on cuda:1: CUDA error error 999 (as the test has it)"), std::string::npos)
        << text;
    EXPECT_TRUE(text.ends_with(kLost)) << text;
    expect_no_context();
    EXPECT_EQ(stand_in::last_error(), 0);
  });
  expect_nothing_left();
}

TEST_F(StandInLostDevice, AnErrorWithoutACauseIsNoLossWhereOneCallAloneGivesIt) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const auto frames = pictures(2);
    run(*session, frames, 1, {14, 14, 14});
    const Logged warnings(LogLevel::kWarning);
    machine.failures.replays = 1;
    machine.failures.replay_error = kUnknown;
    EXPECT_NO_THROW(run(*session, frames, 1, {14, 14, 14}));
    const std::string text = warnings.text();
    EXPECT_NE(text.find("CUDA error error 999 (as the test has it)\n"), std::string::npos) << text;
    EXPECT_EQ(stand_in::last_error(), 0);
  });
  expect_nothing_left();
}

/// A device that another process has taken is not lost, though it answers nothing.
TEST_F(StandInLostDevice, ErrorsThatNameAnotherCauseAreNoLoss) {
  in_a_new_thread([&] {
    const std::string text = failure_on_device_that_answers(kUnavailable);
    EXPECT_NE(text.find("CUDA error error 46"), std::string::npos) << text;
    EXPECT_EQ(text.find("lost"), std::string::npos) << text;
  });
  expect_nothing_left();
}

TEST_F(StandInLostDevice, ASessionThereFailsAndIsLetGo) {
  in_a_new_thread([&] {
    Model model(small(), ElementType::kBfloat16, 1);
    auto session = model.session();
    const auto frames = pictures(2);
    for (int i = 0; i < 2; ++i) run(*session, frames, 1, {3, 3, 3});
    PatchesPtr patches = session->preprocess_one(frames[0]);
    device(1).lost = kIllegalAddress;
    try {
      run(*session, frames, 1, {3, 3, 3});
      FAIL() << "ran";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("lost"), std::string::npos) << error.what();
    }
    patches.reset();
    session.reset();
    model.on_device.reset();
    expect_no_context();
    EXPECT_EQ(stand_in::last_error(), 0);
    const Model other(small());
    EXPECT_NO_THROW(run(*other.session(), frames, 1, {})) << "on the other device";
  });
}

TEST_F(StandInLostDevice, TheCpuOfTheSameProcessWorksOn) {
  in_a_new_thread([&] {
    const CpuBeside cpu;
    const Model model(small());
    const auto session = model.session();
    machine.failures.lost_in_product = kIllegalAddress;
    EXPECT_NE(failure(*session).find(kLost), std::string::npos);
    device(1).lost = kIllegalAddress;
    try {
      open_model(cpu.on("cuda:0"));
      ADD_FAILURE() << "opened on a lost device";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_NE(std::string(error.what()).find(kLost), std::string::npos) << error.what();
    }
    cpu.expect_works_on(kLost);
    expect_no_context();
    for (stand_in::Device& each : machine.devices) each.lost = 0;
  });
  expect_nothing_left();
}

}  // namespace
}  // namespace tome::testing
