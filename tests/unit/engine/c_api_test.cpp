// The C table end to end on a small random model: answers are those of the model's own forward.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "engine/device.h"
#include "expected_scores.h"
#include "tome_error.h"
#include "vit/cpu_kernels.h"

namespace tome::testing {
namespace {

using CApi = ApiTest;

TEST_F(CApi, VersionIsChecked) {
  EXPECT_EQ(tome_core_api(TOME_CORE_API_VERSION + 1), nullptr);
  EXPECT_EQ(tome_core_api(0), nullptr);
  EXPECT_EQ(api().version, TOME_CORE_API_VERSION);
  EXPECT_EQ(api().struct_size, sizeof(TomeCoreApi));
}

TEST_F(CApi, ModelInfo) {
  const ModelPtr model = open(model_config(tiny()));
  ASSERT_NE(model, nullptr) << error.message;
  TomeModelInfo info{};
  api().model_info(model.get(), &info);
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_STREQ(info.precision, "fp32");
  EXPECT_STREQ(info.default_schedule, "0");
  EXPECT_EQ(info.classes, 5U);
  EXPECT_EQ(info.depth, 3U);
  EXPECT_EQ(info.width, 32U);
  EXPECT_EQ(info.height, 32U);
  EXPECT_EQ(info.clip_length, 1U);
  EXPECT_EQ(info.tubelet, 1U);
  EXPECT_EQ(info.tokens, 17U);
  EXPECT_EQ(info.is_clip_model, 0U);
  EXPECT_GT(api().model_batch_duration(model.get()), 0);
}

TEST_F(CApi, ResultsAreTheModelsOwn) {
  const ModelPtr model = open(model_config(tiny()));
  Picture small(40, 30), large(123, 77, 9);
  for (const int64_t r : {0, 3}) {
    TomeStreamConfig config = stream_config();
    const std::string schedule = std::to_string(r);
    config.schedule = schedule.c_str();
    const StreamPtr to = stream(model, config);
    const TicketPtr first = submit(to, small.frame());
    const TicketPtr second = submit(to, large.frame());
    const auto a = wait(first);
    const auto b = wait(second);
    ASSERT_EQ(a.size(), 1U);
    ASSERT_EQ(b.size(), 1U);
    expect_scores(a[0], expected_scores({&small}, r));
    expect_scores(b[0], expected_scores({&large}, r));
    EXPECT_EQ(a[0].tokens_in, 17U);
    EXPECT_EQ(a[0].tokens_out, r == 0 ? 17U : 8U);
    EXPECT_EQ(a[0].clip_start_pts, 40);
    EXPECT_EQ(a[0].n_frames, 1U);
    EXPECT_GE(a[0].inference_ms, 0);
    EXPECT_TRUE(api().ticket_ready(first.get()));
  }
  EXPECT_EQ(small.released, 2);
  EXPECT_EQ(large.released, 2);
}

TEST_F(CApi, PixelsAreAsWideAsTheFrameSays) {
  const ModelPtr model = open(model_config(tiny()));
  const StreamPtr to = stream(model, stream_config());
  Picture wide(70, 60);
  const auto squeezed = expected_scores({&wide}, 0);
  wide.aspect_n = 16;
  wide.aspect_d = 11;
  const TicketPtr ticket = submit(to, wide.frame());
  const auto results = wait(ticket);
  ASSERT_EQ(results.size(), 1U);
  const auto expected = expected_scores({&wide}, 0);
  EXPECT_GT(std::abs(expected[0].score - squeezed[0].score), 1e-3);
  expect_scores(results[0], expected);
}

TEST_F(CApi, RegionIsThePartOfThePicture) {
  const ModelPtr model = open(model_config(tiny()));
  const StreamPtr to = stream(model, stream_config());
  Picture picture(64, 48), part(20, 16);
  for (int32_t y = 0; y < 16; ++y) {
    std::memcpy(&part.pixels[size_t{60} * y], &picture.pixels[3 * (size_t{64} * (y + 5) + 7)], 60);
  }
  const TomeRegion regions[] = {{7, 5, 20, 16}, {0, 0, 0, 0}, {100, 0, 5, 5}};
  TomeFrame frame = picture.frame();
  frame.regions = regions;
  frame.n_regions = 3;
  const TicketPtr ticket = submit(to, frame);
  const auto results = wait(ticket);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].region.x, 7);
  expect_scores(results[0], expected_scores({&part}, 0));
  expect_scores(results[1], expected_scores({&picture}, 0));
}

TEST_F(CApi, ClipsOfAnImageModel) {
  TomeModelConfig config = model_config(tiny());
  config.clip_length = 3;
  const ModelPtr model = open(config);
  ASSERT_NE(model, nullptr) << error.message;
  TomeModelInfo info{};
  api().model_info(model.get(), &info);
  EXPECT_EQ(info.clip_length, 3U);
  EXPECT_EQ(info.tokens, 49U);
  EXPECT_EQ(info.is_clip_model, 0U);
  const StreamPtr to = stream(model, stream_config());
  Picture a(32, 32, 1), b(32, 32, 2), c(32, 32, 3);
  wait(submit(to, a.frame()), TOME_TICKET_NONE);
  wait(submit(to, b.frame()), TOME_TICKET_NONE);
  const TicketPtr ticket = submit(to, c.frame());
  const auto results = wait(ticket);
  ASSERT_EQ(results.size(), 1U);
  expect_scores(results[0], expected_scores({&a, &b, &c}, 0));
  wait(submit(to, a.frame()), TOME_TICKET_NONE);
  wait(submit(to, b.frame()), TOME_TICKET_NONE);
  TomeTicket* drained = nullptr;
  ASSERT_EQ(api().drain(to.get(), &drained, &error), TOME_OK);
  const TicketPtr last(drained);
  const auto padded = wait(last);
  ASSERT_EQ(padded.size(), 1U);
  EXPECT_EQ(padded[0].n_frames, 2U);
  EXPECT_EQ(padded[0].tokens_out, 33U) << "static patches merge, here those that padding repeats";
  expect_scores(padded[0], expected_scores({&a, &b, &b}, 0));
  ASSERT_EQ(api().drain(to.get(), &drained, &error), TOME_OK);
  EXPECT_EQ(drained, nullptr);
}

TEST_F(CApi, EffectiveRAndSchedules) {
  const ModelPtr model = open(model_config(tiny()));
  int64_t r[3] = {-1, -1, -1};
  EXPECT_EQ(api().model_effective_r(model.get(), "6", r, 3, &error), 13);
  EXPECT_EQ(r[0], 6);  // 16 patches: 6, then 5 of 10, then 2 of 5
  EXPECT_EQ(r[1], 5);
  EXPECT_EQ(r[2], 2);
  EXPECT_EQ(api().model_effective_r(model.get(), nullptr, nullptr, 0, &error), 0);
  EXPECT_EQ(api().model_effective_r(model.get(), "1,2,3,4", r, 3, &error), -1);
  EXPECT_EQ(error.status, TOME_ERROR_SETTINGS);
  const StreamPtr to = stream(model, stream_config());
  status = api().stream_set_schedule(to.get(), "fast please", &error);
  expect_error(TOME_ERROR_SETTINGS, "fast please");
  EXPECT_EQ(api().stream_set_schedule(to.get(), "2", &error), TOME_OK);
  Picture picture(32, 32);
  const TicketPtr ticket = submit(to, picture.frame());
  EXPECT_EQ(wait(ticket)[0].tokens_out, 11U);
}

TEST_F(CApi, AStreamIsAdjustedWhileItRuns) {
  const ModelPtr model = open(model_config(tiny()));
  const StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  EXPECT_EQ(wait(submit(to, picture.frame())).at(0).n_scores, 5U);
  ASSERT_EQ(api().stream_adjust(to.get(), 2, 0, 2, &error), TOME_OK);
  wait(submit(to, picture.frame()), TOME_TICKET_NONE);
  const TicketPtr two = submit(to, picture.frame());
  EXPECT_EQ(wait(two).at(0).n_scores, 2U);
  status = api().stream_adjust(to.get(), 0, 0, 1, &error);
  expect_error(TOME_ERROR_SETTINGS, "top-k");
  status = api().stream_adjust(to.get(), 1, 0, 0, &error);
  expect_error(TOME_ERROR_SETTINGS, "inference-interval");
  status = api().stream_adjust(to.get(), 1, std::nan(""), 1, &error);
  expect_error(TOME_ERROR_SETTINGS, "threshold");
  EXPECT_EQ(api().stream_adjust(nullptr, 1, 0, 1, &error), TOME_ERROR_SETTINGS);
  wait(submit(to, picture.frame()), TOME_TICKET_NONE);
  EXPECT_EQ(wait(submit(to, picture.frame())).at(0).n_scores, 2U)
      << "what is refused changes nothing";
}

TEST_F(CApi, AFrameNeedsNoRelease) {
  const ModelPtr model = open(model_config(tiny()));
  const StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  TomeFrame frame = picture.frame();
  frame.release = nullptr;
  const TicketPtr ticket = submit(to, frame);
  expect_scores(wait(ticket).at(0), expected_scores({&picture}, 0));
}

TEST_F(CApi, ThresholdActivationAndTopK) {
  const ModelPtr model = open(model_config(tiny()));
  TomeStreamConfig config = stream_config();
  config.top_k = 2;
  config.activation = TOME_ACTIVATION_SIGMOID;
  const StreamPtr sigmoid = stream(model, config);
  Picture picture(32, 32);
  const TicketPtr ticket = submit(sigmoid, picture.frame());
  const auto results = wait(ticket);
  ASSERT_EQ(results[0].n_scores, 2U);
  const auto softmax = expected_scores({&picture}, 0);
  EXPECT_EQ(results[0].scores[0].id, softmax[0].id);
  EXPECT_GE(results[0].scores[0].score, results[0].scores[1].score);
  config.activation = TOME_ACTIVATION_SOFTMAX;
  config.threshold = 0.5 * (softmax[0].score + softmax[1].score);
  const StreamPtr strict = stream(model, config);
  const TicketPtr one = submit(strict, picture.frame());
  EXPECT_EQ(wait(one)[0].n_scores, 1U);
}

TEST_F(CApi, BadModelsAreRefusedWithTheReason) {
  EXPECT_EQ(open(model_config("/nowhere/at/all")), nullptr);
  expect_error(TOME_ERROR_NOT_FOUND, "/nowhere/at/all");
  EXPECT_EQ(open(model_config(nullptr)), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "model");
  TomeModelConfig config = model_config(tiny());
  config.precision = "fp16";
  EXPECT_EQ(open(config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "fp16");
  config.precision = "fp8";
  EXPECT_EQ(open(config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "fp8");
  config = model_config(tiny());
  config.device = "tpu";
  EXPECT_EQ(open(config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "tpu");
  config.device = "cuda:99";
  EXPECT_EQ(open(config), nullptr);
  expect_error(TOME_ERROR_DEVICE, "cuda:99");
  std::filesystem::resize_file(folder.path() / "model.safetensors", 100);
  EXPECT_EQ(open(model_config(folder.path().c_str())), nullptr);
  EXPECT_NE(status, TOME_OK);
  EXPECT_NE(std::string(error.message).find("model.safetensors"), std::string::npos)
      << error.message;
  tiny();
  EXPECT_NE(open(model_config(folder.path().c_str())), nullptr) << "nothing was left behind";
}

TEST_F(CApi, TheSameIdWithAnotherConfiguration) {
  TomeModelConfig config = model_config(tiny());
  config.instance_id = "lobby";
  const ModelPtr first = open(config);
  config.batch_size = 7;
  EXPECT_EQ(open(config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "lobby");
  EXPECT_NE(std::string(error.message).find("batch-size=7"), std::string::npos);
  EXPECT_NE(std::string(error.message).find("batch-size=4"), std::string::npos);
}

TEST_F(CApi, InstancesOfOneModelShareItsWeights) {
  TomeModelConfig config = model_config(tiny());
  const ModelPtr first = open(config);
  config.batch_size = 7;
  const ModelPtr second = open(config);
  // A third needs no file any more; one in another precision has weights of its own to read.
  std::filesystem::remove(folder.path() / "model.safetensors");
  config.instance_id = "third";
  const ModelPtr third = open(config);
  EXPECT_NE(third, nullptr) << error.message;
  config.instance_id = "fourth";
  config.precision = "bf16";
  EXPECT_EQ(open(config), nullptr);
  Picture picture(32, 32);
  const StreamPtr to = stream(third, stream_config());
  const TicketPtr ticket = submit(to, picture.frame());
  expect_scores(wait(ticket).at(0), expected_scores({&picture}, 0));
}

struct RoundedPrecision : ApiTest {
  /// A model opened so says so, and its scores are those of fp32 but for rounding: 8 bits are about
  /// 0.4 % of each of the few dozen values that are added up.
  void expect_scores_near(const char* precision) {
    TomeModelConfig config = model_config(tiny());
    config.precision = precision;
    const ModelPtr model = open(config);
    ASSERT_NE(model, nullptr) << error.message;
    TomeModelInfo info{};
    api().model_info(model.get(), &info);
    EXPECT_STREQ(info.precision, precision);
    const StreamPtr to = stream(model, stream_config());
    Picture picture(32, 32);
    const TicketPtr ticket = submit(to, picture.frame());
    const auto results = wait(ticket);
    ASSERT_GT(results.at(0).n_scores, 0U);
    for (uint32_t i = 0; i < results[0].n_scores; ++i) {
      for (const LabelScore& exact : expected_scores({&picture}, 0)) {
        if (exact.id == results[0].scores[i].id) {
          EXPECT_NEAR(results[0].scores[i].score, exact.score, 0.05);
        }
      }
    }
  }
};

TEST_F(RoundedPrecision, Bfloat16OnTheCpu) { expect_scores_near("bf16"); }

TEST_F(RoundedPrecision, EightBitsOnTheCpu) {
  if (best_cpu_kernels(ProductType::kInt8) == nullptr) {
    GTEST_SKIP() << "this processor has no products in 8 bits";
  }
  expect_scores_near("int8");
  EXPECT_THROW(parse_precision("int8", at::Device("cuda:0")), Error) << "of the CPU alone";
}

TEST_F(CApi, AutoPrecisionSaysWhatItChose) {
  TomeModelConfig config = model_config(tiny());
  config.precision = "auto";
  const ModelPtr model = open(config);
  ASSERT_NE(model, nullptr) << error.message;
  TomeModelInfo info{};
  api().model_info(model.get(), &info);
  const std::string precision = info.precision;
  EXPECT_TRUE(precision == "fp32" || (precision == "bf16" && cpu_has_native_bf16())) << precision;
}

TEST_F(CApi, BadFramesAreRefusedAndReleased) {
  const ModelPtr model = open(model_config(tiny()));
  const StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  TomeFrame frame = picture.frame();
  frame.format = static_cast<TomePixelFormat>(77);
  EXPECT_EQ(submit(to, frame), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "77");
  EXPECT_EQ(picture.released, 1);
  frame = picture.frame();
  frame.height = 0;
  EXPECT_EQ(submit(to, frame), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "32x0");
  EXPECT_EQ(picture.released, 2);
  frame = picture.frame();
  frame.plane[0] = nullptr;
  EXPECT_EQ(submit(to, frame), nullptr);
  EXPECT_EQ(picture.released, 3);
  frame = picture.frame();
  frame.n_regions = 2;
  EXPECT_EQ(submit(to, frame), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "regions");
  EXPECT_EQ(picture.released, 4);
  // Too few bytes show only when the pixels are read.
  frame = picture.frame();
  frame.plane_size[0] = 100;
  const TicketPtr ticket = submit(to, frame);
  ASSERT_NE(ticket, nullptr);
  wait(ticket, TOME_TICKET_FAILED);
  EXPECT_EQ(error.status, TOME_ERROR_FORMAT);
  EXPECT_EQ(picture.released, 5);
  frame = picture.frame();
  frame.memory = TOME_MEMORY_CUDA;
  wait(submit(to, frame), TOME_TICKET_FAILED);
  EXPECT_EQ(error.status, TOME_ERROR_DEVICE);
  wait(submit(to, picture.frame()));
}

TEST_F(CApi, BadStreamsAreRefused) {
  const ModelPtr model = open(model_config(tiny()));
  TomeStreamConfig config = stream_config();
  config.schedule = "keep=0.000001";
  EXPECT_EQ(stream(model, config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "keep");
  config = stream_config();
  config.activation = static_cast<TomeActivation>(9);
  EXPECT_EQ(stream(model, config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "activation");
  config = stream_config();
  config.smoothing = 1.5;
  EXPECT_EQ(stream(model, config), nullptr);
  expect_error(TOME_ERROR_SETTINGS, "smoothing");
}

TEST_F(CApi, NullPointersAreErrors) {
  EXPECT_EQ(api().model_acquire(nullptr, nullptr, &error), TOME_ERROR_SETTINGS);
  EXPECT_EQ(api().submit(nullptr, nullptr, nullptr, &error), TOME_ERROR_SETTINGS);
  EXPECT_EQ(api().submit(nullptr, nullptr, nullptr, nullptr), TOME_ERROR_SETTINGS);
  EXPECT_EQ(api().drain(nullptr, nullptr, &error), TOME_ERROR_SETTINGS);
  EXPECT_EQ(api().ticket_ready(nullptr), 0);
  EXPECT_EQ(api().ticket_wait(nullptr, nullptr, nullptr, &error), TOME_TICKET_FAILED);
  EXPECT_EQ(api().model_batch_duration(nullptr), 0);
  api().model_release(nullptr);
  api().stream_close(nullptr);
  api().ticket_free(nullptr);
  api().flush(nullptr);
}

TEST_F(CApi, TicketsOutliveStreamAndModel) {
  ModelPtr model = open(model_config(tiny()));
  StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  const TicketPtr ticket = submit(to, picture.frame());
  const auto results = wait(ticket);
  to.reset();
  model.reset();
  expect_scores(results[0], expected_scores({&picture}, 0));
}

TEST_F(CApi, LogReachesTheSink) {
  std::vector<std::string> lines;
  api().set_log(
      [](TomeLogLevel, const char* text, void* data) {
        static_cast<std::vector<std::string>*>(data)->emplace_back(text);
      },
      &lines);
  open(model_config(tiny()));
  api().set_log(nullptr, nullptr);
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines.back().find("tiny"), std::string::npos);
  EXPECT_NE(lines.back().find("batch-size=4"), std::string::npos);
}

TEST_F(CApi, StreamsFromManyThreads) {
  const ModelPtr model = open(model_config(tiny()));
  std::vector<std::thread> users;
  std::atomic<int> results = 0;
  for (uint32_t user = 0; user < 4; ++user) {
    users.emplace_back([&, user] {
      TomeStream* opened = nullptr;
      const TomeStreamConfig config = stream_config();
      ASSERT_EQ(api().stream_open(model.get(), &config, &opened, nullptr), TOME_OK);
      const StreamPtr to(opened);
      Picture picture(32 + static_cast<int32_t>(user) * 7, 32, user + 1);
      std::vector<TicketPtr> tickets;
      for (int i = 0; i < 10; ++i) {
        TomeTicket* ticket = nullptr;
        const TomeFrame frame = picture.frame();
        ASSERT_EQ(api().submit(to.get(), &frame, &ticket, nullptr), TOME_OK);
        tickets.emplace_back(ticket);
      }
      for (const TicketPtr& ticket : tickets) {
        results += api().ticket_wait(ticket.get(), nullptr, nullptr, nullptr) == TOME_TICKET_RESULT;
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(results, 40);
}

int64_t resident_bytes() {
  malloc_trim(0);
  int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST_F(CApi, AThousandSourcesComeAndGoInTheSameMemory) {
  TomeModelConfig config = model_config(tiny());
  config.batch_timeout_ms = 0;
  const ModelPtr model = open(config);
  Picture picture(160, 120);
  int64_t after_100 = 0;
  for (int i = 1; i <= 1000; ++i) {
    const StreamPtr to = stream(model, stream_config());
    const TicketPtr first = submit(to, picture.frame());
    const TicketPtr second = submit(to, picture.frame());
    wait(first);
    if (i == 100) after_100 = resident_bytes();
  }
  EXPECT_LE(resident_bytes(), after_100 + after_100 / 50);
  EXPECT_EQ(picture.released, 2000);
}

TEST_F(CApi, OpeningAndReleasingAModelKeepsTheMemoryFlat) {
  const char* const path = tiny();
  int64_t after_20 = 0;
  for (int i = 1; i <= 60; ++i) {
    ASSERT_NE(open(model_config(path)), nullptr) << error.message;
    if (i == 20) after_20 = resident_bytes();
  }
  EXPECT_LE(resident_bytes(), after_20 + after_20 / 20);
}

}  // namespace
}  // namespace tome::testing
