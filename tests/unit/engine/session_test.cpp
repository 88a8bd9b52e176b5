// The session on LibTorch: what happens to the clips of one batch.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "engine/aten_session.h"
#include "fake_session.h"
#include "tiny_model.h"

namespace tome::testing {
namespace {

constexpr int64_t kFrames = 4;
constexpr int64_t kCells = 16;
constexpr int64_t kRow = 3 * 8 * 8;

struct SessionTest : ::testing::Test {
  SessionTest() : checkpoint(tiny_checkpoint({.frames = kFrames})) {
    model = std::make_shared<const VisionTransformer>(checkpoint.config, checkpoint.weights);
    session = std::make_unique<AtenSession>(model, checkpoint.preprocess);
  }

  /// A clip whose frames after the first repeat it in their first `still` cells.
  at::Tensor clip(int64_t still, uint64_t seed) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
    at::Tensor out = at::randn({kFrames, kCells, kRow}, generator, at::TensorOptions());
    for (int64_t t = 1; t < kFrames; ++t) {
      out[t].narrow(0, 0, still).copy_(out[0].narrow(0, 0, still));
    }
    return out;
  }

  BatchOutput run(const std::vector<at::Tensor>& clips, double threshold) {
    BatchInput input;
    input.batch = static_cast<int64_t>(clips.size());
    input.frames_per_request = kFrames;
    input.r = {4, 4, 4};
    input.static_threshold = threshold;
    for (const at::Tensor& frames : clips) {
      for (int64_t t = 0; t < kFrames; ++t) {
        input.frames.push_back(std::make_shared<const Patches>(Patches{frames[t].clone()}));
      }
    }
    return session->forward(input);
  }

  static void expect_near(const BatchOutput& all, size_t request, const BatchOutput& alone) {
    for (int64_t c = 0; c < all.classes; ++c) {
      EXPECT_NEAR(all.logits[request * all.classes + c], alone.logits[c], 1e-4)
          << "request " << request;
    }
  }

  Checkpoint checkpoint;
  std::shared_ptr<const VisionTransformer> model;
  std::unique_ptr<AtenSession> session;
};

/// A thread of a program that exits was told so by the engine, after which it computes nothing.
std::atomic<bool> refused;

/// Something that threads of the engine use goes now: it is too early where they still might.
template <int kStatus>
void go_at_exit() {
  std::atexit([] {
    for (int i = 0; i < 1000 && !refused; ++i) usleep(10'000);
    if (!refused) _exit(kStatus);
  });
}

void expect_refusals(const std::shared_ptr<ModelInstance>& instance) {
  try {
    if (instance) Stream late(instance, StreamConfig{});
    if (instance) return;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kFailed) return;
  }
  try {
    InstanceConfig config;
    config.model = "late";
    ModelInstance late(config, [](const InstanceConfig&) -> OpenedModel { _exit(6); });
  } catch (const Error& error) {
    refused = error.kind() == ErrorKind::kFailed;
  }
}

OpenedModel open_tiny(int64_t clip_length) {
  const Checkpoint tiny = tiny_checkpoint({.frames = clip_length});
  OpenedModel opened;
  opened.description.labels = std::make_shared<const std::vector<std::string>>(5, "class");
  opened.description.geometry = {3, 1 + 16 * clip_length, 1, 32, 64};
  opened.description.clip_length = clip_length;
  opened.session.session = std::make_unique<AtenSession>(
      std::make_shared<const VisionTransformer>(tiny.config, tiny.weights), tiny.preprocess);
  return opened;
}

InstanceConfig tiny_config() {
  InstanceConfig config;
  config.model = "tiny";
  config.batch_size = 1;
  return config;
}

/// A program that exits while one of its threads is in forwards of a stream, or pre-processes
/// frames of clips.
/// @param library_late  a library whose globals forwards use is loaded meanwhile
[[noreturn]] void exit_while_a_stream_runs(int64_t clip_length, bool library_late) {
  // Its handler runs after the engine's, which is registered later.
  go_at_exit<4>();
  auto instance = std::make_shared<ModelInstance>(tiny_config(), [&](const InstanceConfig&) {
    OpenedModel opened = open_tiny(clip_length);
    go_at_exit<7>();  // as what LibTorch makes with its first forward
    return opened;
  });
  auto stream = std::make_shared<Stream>(instance, StreamConfig{});
  static std::atomic<int> results, failures;
  std::thread([instance, stream] {
    try {
      for (;;) {
        const Outcome outcome = stream->submit(tagged_frame(1), {})->wait();
        if (outcome == Outcome::kResult) ++results;
        if (outcome == Outcome::kFailed) ++failures;
        if (outcome == Outcome::kCancelled) break;
      }
    } catch (const Error&) {  // the process is ending
    }
    expect_refusals(instance);
    for (;;) pause();
  }).detach();
  while (results < 20 && failures == 0) std::this_thread::yield();
  if (library_late) {
    go_at_exit<5>();
    stop_batchers_at_exit();
  }
  if (failures > 0) std::exit(3);
  std::exit(0);
}

TEST(SessionDeathTest, ExitWhileAStreamRuns) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (int i = 0; i < 4; ++i) {
    for (const int64_t clip_length : {1, 4}) {
      EXPECT_EXIT(exit_while_a_stream_runs(clip_length, i % 2 == 1), ::testing::ExitedWithCode(0),
                  "");
    }
  }
}

/// A program that exits while one of its threads opens its first model, which may fail.
[[noreturn]] void exit_while_a_model_opens(bool fails) {
  static std::atomic<bool> opening, exiting, gone, opened;
  static std::atomic<Clock::rep> begun;
  go_at_exit<5>();
  std::atexit([] {  // a global that opening a model uses
    gone = true;
    if (!opened) _exit(4);
    // Nobody waited for what comes no more.
    const auto now = Clock::now().time_since_epoch().count();
    if (Clock::duration(now - begun) > std::chrono::seconds(4)) _exit(8);
  });
  std::thread([fails] {
    std::shared_ptr<ModelInstance> instance;
    try {
      instance = std::make_shared<ModelInstance>(tiny_config(), [fails](const InstanceConfig&) {
        std::atexit([] {
          begun = Clock::now().time_since_epoch().count();
          exiting = true;
        });
        opening = true;
        while (!exiting) std::this_thread::yield();
        // Where nobody waits for this thread, the globals go meanwhile.
        for (int i = 0; i < 20 && !gone; ++i) usleep(10'000);
        OpenedModel model = open_tiny(1);
        opened = !gone;
        if (fails) throw Error(ErrorKind::kFormat, "a bad model");
        return model;
      });
    } catch (const Error& error) {
      if (!fails || error.kind() != ErrorKind::kFormat) _exit(3);
    }
    expect_refusals(instance);
    for (;;) pause();
  }).detach();
  while (!opening) std::this_thread::yield();
  std::exit(0);
}

TEST(SessionDeathTest, ExitWhileAModelOpens) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool fails : {false, true}) {
    EXPECT_EXIT(exit_while_a_model_opens(fails), ::testing::ExitedWithCode(0), "");
  }
}

TEST_F(SessionTest, AStillClipCostsLittleAmongMovingOnes) {
  const std::vector<at::Tensor> clips{clip(0, 1), clip(kCells, 2), clip(8, 3), clip(0, 4)};
  const BatchOutput all = run(clips, 0);
  EXPECT_EQ(all.tokens_in, 1 + kFrames * kCells);
  // Three blocks merge 4 of 64 each. Before them 3 x 16 and 3 x 8 rounded down to 16 repeats are
  // gone, and r shrinks as what is left: to 1 of 16 and 3 of 48.
  EXPECT_EQ(all.tokens_out, (std::vector<int64_t>{53, 1 + 16 - 3, 1 + 48 - 9, 53}));
  for (size_t i = 0; i < clips.size(); ++i) expect_near(all, i, run({clips[i]}, 0));
}

TEST_F(SessionTest, NothingChangesWhereNothingRepeats) {
  const std::vector<at::Tensor> clips{clip(0, 5), clip(0, 6)};
  EXPECT_EQ(run(clips, 0).logits, run(clips, -1).logits);
}

TEST_F(SessionTest, TheThresholdIsInGreyLevels) {
  const at::Tensor still = clip(kCells, 7);
  at::Tensor trembling = still.clone();
  // 2 of 255 grey levels at a deviation of 0.5 are 4 / 255.
  trembling[1].add_(4.0 / 255);
  EXPECT_EQ(run({trembling}, 1.9).tokens_out[0], 1 + 48 - 9);
  EXPECT_EQ(run({trembling}, 2.1).tokens_out[0], 1 + 16 - 3);
}

}  // namespace
}  // namespace tome::testing
