// What tests on the stand-in share.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <utility>

#include "cuda/device_fixtures.h"
#include "cuda/stand_in/stand_in.h"

namespace tome::testing {

/// What `body` does, in a thread that CUDA has not met yet: without a context.
template <class Body>
void in_a_new_thread(Body&& body) {
  std::async(std::launch::async, std::forward<Body>(body)).get();
}

class StandIn : public ::testing::Test {
 protected:
  static constexpr int kOutOfMemory = 2, kUnavailable = 46, kIllegalAddress = 700,
                       kUnknown = 999;  // CUDA's

  void SetUp() override {
    for (stand_in::Device& device : machine.devices) {
      const size_t used = device.used;
      device = {};
      device.used = used;
    }
    machine.driver_version = stand_in::kRuntimeVersion;
    machine.count_error = 0;
    machine.failures = {};
    before = machine;
  }

  stand_in::Device& device(size_t index) { return machine.devices[index]; }

  void expect_no_context() const { EXPECT_EQ(stand_in::context(), nullptr); }

  /// All that was made is destroyed again, where it was made, on streams of the core's own.
  void expect_nothing_left() const {
    const stand_in::Counts &now = machine.counts, &then = before.counts;
    EXPECT_EQ(now.live, then.live);
    EXPECT_EQ(now.contexts_unasked, then.contexts_unasked);
    EXPECT_EQ(now.destroyed_elsewhere, then.destroyed_elsewhere);
    EXPECT_EQ(now.default_stream, then.default_stream);
    EXPECT_EQ(now.uncleared, then.uncleared);
    for (size_t i = 0; i < machine.devices.size(); ++i) {
      EXPECT_EQ(machine.devices[i].used, before.devices[i].used) << "cuda:" << i;
    }
  }

  stand_in::Machine& machine = stand_in::machine();
  stand_in::Machine before;
};

}  // namespace tome::testing
