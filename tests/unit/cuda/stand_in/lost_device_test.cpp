// A device that is lost to the process: it is named, and what lies on it is let go.
#include "cuda/device.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stream.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

using StandInLostDevice = StandIn;

/// cuBLASLt's status does not say it, and its runtime's last error is not ours.
TEST_F(StandInLostDevice, AProductThatLosesItSaysSo) {
  in_a_new_thread([&] {
    const Model model(small(), ElementType::kBfloat16, 1);
    auto session = model.session();
    const auto frames = pictures(2);
    machine.failures.lost_in_product = kIllegalAddress;
    try {
      run(*session, frames, 1, {3, 3, 3});
      FAIL() << "multiplied";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      const std::string text = error.what();
      EXPECT_NE(text.find("cuBLAS status 13 on cuda:1: CUDA error error 700; the device is lost"),
                std::string::npos)
          << text;
    }
    expect_no_context();
  });
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

}  // namespace
}  // namespace tome::testing
