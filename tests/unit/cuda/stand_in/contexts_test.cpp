// Whose context is current when, on two devices: what is made on one is destroyed there, whichever
// thread lets go of it.
#include "cuda/device.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stream.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

using StandInContexts = StandIn;

TEST_F(StandInContexts, ASessionOnOneDeviceLeavesTheOtherAlone) {
  device(0).capacity = 0;  // not even a context of its own fits
  in_a_new_thread([&] {
    Model model(small(), ElementType::kBfloat16, 1);
    auto session = model.session();
    expect_no_context();
    const auto frames = pictures(4);
    for (int i = 0; i < 3; ++i) run(*session, frames, 1, {8, 8, 8});
    EXPECT_EQ(session->graphs(), 1U);
    PatchesPtr patches = session->preprocess_one(frames[0]), outlives = patches;
    in_a_new_thread([&] {
      patches.reset();
      session.reset();
      expect_no_context();
      outlives.reset();  // and the pool
      expect_no_context();
      model.on_device.reset();
      expect_no_context();
    });
  });
  EXPECT_FALSE(device(0).has_context);
  expect_nothing_left();
}

TEST_F(StandInContexts, TheSurplusOfThePoolIsFreedWhereItIs) {
  constexpr size_t kKept = size_t{256} << 20, kFrame = size_t{3} << 19;
  constexpr int64_t kSide = 512;  // so that few frames are many bytes
  in_a_new_thread([&] {
    Model model(small_config(kSide, 128, 1), ElementType::kBfloat16, 1);
    auto session = model.session();
    const auto frame = pictures(1)[0];
    std::vector<PatchesPtr> window{session->preprocess_one(frame)};
    const size_t one = device(1).used;
    for (size_t i = 0; i < kKept / kFrame + 20; ++i) {
      window.push_back(session->preprocess_one(frame));
    }
    EXPECT_GT(device(1).used - one, kKept + 10 * kFrame);
    in_a_new_thread([&] {
      window.clear();
      expect_no_context();
    });
    EXPECT_LE(device(1).used - one, kKept);
    EXPECT_GE(device(1).used - one, kKept - 2 * kFrame);
    in_a_new_thread([&] {
      session.reset();
      model.on_device.reset();
    });
  });
  EXPECT_FALSE(device(0).has_context);
  expect_nothing_left();
}

TEST_F(StandInContexts, AThreadGetsItsOwnContextBack) {
  in_a_new_thread([&] {
    int own = 0;
    for (void* context : {static_cast<void*>(nullptr), static_cast<void*>(&own)}) {
      stand_in::set_context(context);
      {
        const cuda::CurrentDevice device(1);
        EXPECT_NE(stand_in::context(), context);
        EXPECT_EQ(cuda::current_device(), 1);
      }
      EXPECT_EQ(stand_in::context(), context);
    }
  });
  expect_nothing_left();
}

/// The destructor does not run that would give the context back.
TEST_F(StandInContexts, ADeviceThatCannotBeChosenLeavesTheThreadsContext) {
  device(1).cannot_be_chosen = kOutOfMemory;
  in_a_new_thread([&] {
    try {
      const cuda::CurrentDevice one(1);
      FAIL() << "chosen";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory) << error.what();
    }
    expect_no_context();
    const cuda::CurrentDevice zero(0);
    EXPECT_THROW(cuda::CurrentDevice(1), Error);
    EXPECT_EQ(cuda::current_device(), 0);
  });
  expect_nothing_left();
}

TEST_F(StandInContexts, WhatCannotBeFreedIsNobodysError) {
  in_a_new_thread([&] {
    const auto memory = [] {
      const cuda::CurrentDevice one(1);
      return cuda::DeviceMemory(100, "test");
    };
    {
      const cuda::DeviceMemory unreachable = memory();
      device(1).cannot_be_chosen = kOutOfMemory;
    }
    device(1).cannot_be_chosen = 0;
    expect_no_context();
    EXPECT_EQ(stand_in::last_error(), 0);
    {
      const cuda::DeviceMemory kept = memory();
      machine.failures.frees = 1;
    }
    EXPECT_EQ(stand_in::last_error(), 0) << "the next launch would be blamed for it";
  });
  EXPECT_EQ(machine.counts.live, before.counts.live + 2);
}

TEST_F(StandInContexts, AFirstKernelIsNotBlamedForWhatFailedBefore) {
  in_a_new_thread([&] {
    const cuda::CurrentDevice device(0);
    stand_in::set_last_error(kOutOfMemory);
    EXPECT_NO_THROW(cuda::try_kernel());
  });
}

}  // namespace
}  // namespace tome::testing
