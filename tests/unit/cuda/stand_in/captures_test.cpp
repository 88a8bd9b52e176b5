// Captures and graphs that fail, and those of others.
#include "cuda/logged.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stand_in/runtime.h"
#include "cuda/stream.h"
#include "engine/open_model.h"
#include "engine/tiny_model.h"
#include "temporary_folder.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

/// What was measured is the process's: each test has shapes of its own, by its r or its batch, and
/// sees them new once.
class StandInCaptures : public StandIn {
 protected:
  static BatchInput one_request(CudaSession& session, std::vector<int64_t> r) {
    BatchInput input;
    input.batch = 1;
    input.r = std::move(r);
    input.frames.push_back(session.preprocess_one(pictures(1)[0]));
    return input;
  }
  int replays() const { return machine.counts.replays; }
};

/// An application's, in CUDA's default mode, which forbids other threads of that mode to allocate.
TEST_F(StandInCaptures, OtherThreadsCapturesGoOn) {
  in_a_new_thread([&] {
    ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
    cudaStream_t stream = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, 0), cudaSuccess);
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    const auto beside = [] {
      const Model model(small());
      const auto session = model.session();
      for (int i = 0; i < 3; ++i) run(*session, pictures(2), 1, {8, 8, 8});
      EXPECT_EQ(session->graphs(), 1U);
    };
    EXPECT_NO_THROW(in_a_new_thread(beside));
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  });
  EXPECT_EQ(machine.counts.captures_ended, before.counts.captures_ended);
  expect_nothing_left();
}

/// Meanwhile it forbids itself no more than before.
TEST_F(StandInCaptures, AThreadsOwnModeComesBack) {
  in_a_new_thread([] {
    cudaStreamCaptureMode& mode = stand_in::this_thread().mode;
    for (const cudaStreamCaptureMode own :
         {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal,
          cudaStreamCaptureModeRelaxed}) {
      mode = own;
      {
        const cuda::CurrentDevice device(1);
        const bool relaxed = own == cudaStreamCaptureModeRelaxed;
        EXPECT_EQ(mode, relaxed ? own : cudaStreamCaptureModeThreadLocal);
      }
      EXPECT_EQ(mode, own);
    }
  });
  expect_nothing_left();
}

TEST_F(StandInCaptures, AWarmUpMeasuresProducts) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const Logged warnings(LogLevel::kWarning);
    session->warm_up(one_request(*session, {6, 6, 6}));
    EXPECT_GT(replays(), before.counts.replays + 50);
    EXPECT_EQ(warnings.text(), "");
    EXPECT_EQ(session->graphs(), 1U);
    EXPECT_EQ(machine.counts.graphs, before.counts.graphs + 1) << "those it measured with are gone";
  });
  expect_nothing_left();
}

TEST_F(StandInCaptures, WhatCannotBeMeasuredKeepsItsFirstGuess) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const Logged warnings(LogLevel::kWarning);
    const BatchInput input = one_request(*session, {5, 5, 5});
    machine.failures.captures = 1;
    EXPECT_NO_THROW(session->warm_up(input));
    EXPECT_NE(warnings.text().find("products are not measured"), std::string::npos);
    EXPECT_EQ(warnings.lines(), 1U) << warnings.text();
    EXPECT_EQ(session->graphs(), 1U);
    const int replays_before = replays();
    EXPECT_NO_THROW(session->warm_up(input));
    EXPECT_EQ(replays(), replays_before + 2) << "the forwards alone: it does not try again";
    EXPECT_EQ(warnings.lines(), 1U) << warnings.text();
  });
  expect_nothing_left();
}

TEST_F(StandInCaptures, AFirstReplayWithoutMemoryIsLaunchedInstead) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    const auto frames = pictures(2);
    const Logged warnings(LogLevel::kWarning);
    run(*session, frames, 1, {7, 7, 7});
    machine.failures.replays = 1;
    machine.failures.replay_error = kOutOfMemory;
    EXPECT_NO_THROW(run(*session, frames, 1, {7, 7, 7}));
    EXPECT_NE(warnings.text().find("without CUDA graphs"), std::string::npos);
    EXPECT_EQ(machine.counts.graphs, before.counts.graphs) << "it would keep its memory";
    run(*session, frames, 1, {7, 7, 7});
    EXPECT_EQ(session->graphs(), 0U);
    EXPECT_EQ(warnings.lines(), 1U) << warnings.text();
    for (int i = 0; i < 2; ++i) run(*session, frames, 1, {1, 1, 1});
    EXPECT_EQ(session->graphs(), 1U) << "another shape has its graph";
    run(*session, pictures(5), 1, {7, 7, 7});  // memory moves, and there may be more
    run(*session, frames, 1, {7, 7, 7});
    EXPECT_EQ(session->graphs(), 1U);
  });
  expect_nothing_left();
}

TEST_F(StandInCaptures, AModelOpensWhereNothingCanBeCaptured) {
  const TemporaryFolder folder;
  InstanceConfig config;
  config.model = folder.path().string();
  config.device = "cuda:1";
  config.batch_size = 8;
  in_a_new_thread([&] {
    const c10::InferenceMode inference;
    save_small_model(folder.path());
    const Logged warnings(LogLevel::kWarning);
    machine.failures.captures = 1'000'000;
    EXPECT_EQ(open_model(config).description.precision, "bf16");
    EXPECT_EQ(warnings.lines(), 2U) << warnings.text();  // of measuring, of graphs: once each
    machine.failures.captures = 0;
    const OpenedModel opened = open_model(config);
    const auto* session = dynamic_cast<CudaSession*>(opened.session.session.get());
    ASSERT_NE(session, nullptr);
    EXPECT_EQ(session->graphs(), 2U) << "of one request, of a full batch";
    EXPECT_EQ(warnings.lines(), 2U) << warnings.text();
    expect_no_context();
  });
  EXPECT_FALSE(device(0).has_context);
  EXPECT_EQ(machine.counts.destroyed_elsewhere, before.counts.destroyed_elsewhere);
}

// LibTorch's CUDA half does not load on the stand-in.
TEST_F(StandInCaptures, AutoIsTheCpuForWhatOnlyLibtorchRunsOnADevice) {
  const TemporaryFolder folder;
  InstanceConfig config;
  config.model = folder.path().string();
  in_a_new_thread([&] {
    const c10::InferenceMode inference;
    save_small_model(folder.path());
    for (const char* device : {"auto", ""}) {
      config.device = device;
      config.precision = "auto";
      EXPECT_EQ(open_model(config).description.device, "cuda:0");
      config.precision = "fp32";
      const Logged said(LogLevel::kInfo);
      const ModelDescription model = open_model(config).description;
      EXPECT_EQ(model.device, "cpu");
      EXPECT_EQ(model.precision, "fp32");
      EXPECT_NE(said.text().find("device=auto: the CPU (" + config.model + " on cuda:0 needs"),
                std::string::npos)
          << said.text();
    }
    config.device = "cuda:0";
    try {
      open_model(config);
      ADD_FAILURE() << "a named device was not taken at its word";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    }
  });
}

}  // namespace
}  // namespace tome::testing
