// Which device is taken, and what is said of those that are not: drivers and devices that are too
// old, or taken.
#include <c10/core/InferenceMode.h>

#include <string>

#include "cuda/logged.h"
#include "cuda/stand_in/fixtures.h"
#include "engine/open_model.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

class StandInDevices : public StandIn {
 protected:
  static constexpr int kNoDevice = 100;  // CUDA's

  static std::string refusal(const std::string& asked) {
    try {
      choose_device(asked);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice) << error.what();
      return error.what();
    }
    ADD_FAILURE() << asked << " is to be had";
    return {};
  }
  static void expect_refused(const std::string& asked, const std::string& why) {
    EXPECT_EQ(refusal(asked), "device: '" + asked + "' is not available: " + why);
  }
  static void expect_auto(const std::string& device, const std::string& said) {
    const Logged logged(LogLevel::kInfo);
    EXPECT_EQ(device_name(choose_device("auto")), device);
    EXPECT_EQ(logged.text(), "device=auto: " + said + "\n");
  }

  /// There is no device at all, and nothing was touched by looking.
  void expect_none(const std::string& why) {
    in_a_new_thread([&] {
      for (const char* asked : {"cuda", "cuda:0", "cuda:1"}) expect_refused(asked, why);
      expect_auto("cpu", "the CPU (" + why + ")");
      expect_no_context();
      EXPECT_EQ(stand_in::last_error(), 0) << "the next launch would be blamed for it";
    });
    expect_nothing_left();
  }
};

TEST_F(StandInDevices, WithoutADriver) {
  machine.driver_version = 0;
  expect_none("CUDA: no NVIDIA driver found; expected one for CUDA 13.0 or later");
}

TEST_F(StandInDevices, AnOldDriverIsNamedWithBothVersions) {
  machine.driver_version = 12040;
  expect_none("CUDA: the NVIDIA driver is for CUDA 12.4; expected one for CUDA 13.0 or later");
}

TEST_F(StandInDevices, ADriverWithoutADevice) {
  machine.count_error = kNoDevice;
  expect_none("CUDA: the driver finds no device");
}

/// Nothing is lost that was not there before.
TEST_F(StandInDevices, ADriverThatDoesNotStart) {
  machine.count_error = kUnknown;
  for (stand_in::Device& each : machine.devices) each.lost = kUnknown;
  expect_none("CUDA: looking for devices: CUDA error error 999 (as the test has it)");
}

TEST_F(StandInDevices, ADeviceThatIsTooOldIsNamedWithItsCapability) {
  for (stand_in::Device& each : machine.devices) {
    each.major = 7;
    each.minor = 5;
  }
  const std::string first =
                        "CUDA: device 0 (Stand-in 0) has compute capability 7.5; expected 8.0 or "
                        "later",
                    second =
                        "CUDA: device 1 (Stand-in 1) has compute capability 7.5; expected 8.0 or "
                        "later";
  in_a_new_thread([&] {
    expect_refused("cuda", first);
    expect_refused("cuda:0", first);
    expect_refused("cuda:1", second);
    expect_auto("cpu", "the CPU (cuda:0: " + first + "; cuda:1: " + second + ")");
    expect_no_context();
  });
  for (const stand_in::Device& each : machine.devices) EXPECT_FALSE(each.has_context);
  expect_nothing_left();
}

TEST_F(StandInDevices, TheOldestThatDoes) {
  device(0).major = 8;
  in_a_new_thread([&] {
    EXPECT_EQ(device_name(choose_device("cuda")), "cuda:0");
    expect_auto("cuda:0", "cuda:0, Stand-in 0");
    expect_refused("cuda:2", "CUDA: no device 2; there are 2, counted from 0");
    expect_no_context();
  });
  EXPECT_FALSE(device(1).has_context) << "the first did";
  expect_nothing_left();
}

TEST_F(StandInDevices, AutoIsTheNextWhereTheFirstIsTooOld) {
  device(0).major = 7;
  in_a_new_thread([&] {
    expect_auto(
        "cuda:1",
        "cuda:1, Stand-in 1 (not cuda:0: CUDA: device 0 (Stand-in 0) has compute capability "
        "7.0; expected 8.0 or later)");
  });
  expect_nothing_left();
}

TEST_F(StandInDevices, AutoIsTheNextWhereTheFirstIsTakenFullOrLost) {
  const auto expect_second = [&](int error, const std::string& words) {
    in_a_new_thread([&] {
      const Logged logged(LogLevel::kInfo);
      EXPECT_EQ(device_name(choose_device("auto")), "cuda:1");
      const std::string text = logged.text();
      EXPECT_EQ(text.find("device=auto: cuda:1, Stand-in 1 (not cuda:0: "), 0U) << text;
      EXPECT_NE(text.find("CUDA error error " + std::to_string(error)), std::string::npos) << text;
      EXPECT_NE(text.find(words), std::string::npos) << text;
      EXPECT_NE(refusal("cuda").find(words), std::string::npos) << "the first, by name";
      expect_no_context();
    });
  };
  device(0).cannot_be_chosen = kUnavailable;
  expect_second(kUnavailable, "on cuda:0");
  device(0).cannot_be_chosen = kOutOfMemory;
  expect_second(kOutOfMemory, "are free");
  device(0).cannot_be_chosen = 0;
  device(0).lost = kIllegalAddress;
  expect_second(kIllegalAddress, "the device is lost to this process");
  device(0).lost = 0;
  expect_nothing_left();
}

TEST_F(StandInDevices, AModelRunsOnTheNextOne) {
  device(0).cannot_be_chosen = kUnavailable;
  const TemporaryFolder folder;
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "auto";
  in_a_new_thread([&] {
    const c10::InferenceMode inference;
    save_small_model(folder.path());
    const OpenedModel opened = open_model(config);
    EXPECT_EQ(opened.description.device, "cuda:1");
    EXPECT_EQ(run(*opened.session.session, pictures(2), 1, {3, 3, 3}).tokens_out.size(), 2U);
    config.device = "cuda";
    EXPECT_THROW(open_model(config), Error);
    expect_no_context();
  });
  EXPECT_FALSE(device(0).has_context);
  expect_nothing_left();
}

TEST_F(StandInDevices, WithoutOneThatIsUsableAutoIsTheCpuAndSaysWhyOfEach) {
  device(0).major = 7;
  device(1).cannot_be_chosen = kUnavailable;
  in_a_new_thread([&] {
    const Logged logged(LogLevel::kInfo);
    EXPECT_EQ(device_name(choose_device("auto")), "cpu");
    const std::string text = logged.text();
    EXPECT_EQ(text.find("device=auto: the CPU (cuda:0: CUDA: device 0 (Stand-in 0)"), 0U) << text;
    EXPECT_NE(text.find("; cuda:1: choosing the device on cuda:1: CUDA error error 46"),
              std::string::npos)
        << text;
    expect_no_context();
  });
  expect_nothing_left();
}

}  // namespace
}  // namespace tome::testing
