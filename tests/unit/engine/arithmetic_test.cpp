// A program that rounds as it likes, or that floating-point errors are to end: results are the
// same.
#include <gtest/gtest.h>

#include <cfenv>
#include <numeric>
#include <string>
#include <vector>

#include "c_api_fixture.h"
#include "vit/cpu_kernels.h"

namespace tome::testing {
namespace {

struct HostArithmetic : ApiTest {
  /// Scores of a clip, whose frames are pre-processed on this thread, by a model that opens now.
  std::vector<float> scores(const char* precision) {
    TomeModelConfig config = model_config(folder.path().c_str());
    config.precision = precision;
    const ModelPtr model = open(config);
    EXPECT_NE(model, nullptr) << error.message;
    if (model == nullptr) return {};
    TomeStreamConfig settings = stream_config();
    settings.schedule = "4";
    const StreamPtr to = stream(model, settings);
    std::vector<TicketPtr> tickets;
    std::vector<Picture> pictures;
    for (int i = 0; i < kFrames; ++i) pictures.emplace_back(61, 47, i);
    for (Picture& picture : pictures) tickets.push_back(submit(to, picture.frame()));
    std::vector<float> found(kClasses);
    for (const TomeResult& result : wait(tickets.back())) {
      for (uint32_t i = 0; i < result.n_scores; ++i) {
        found.at(result.scores[i].id) = result.scores[i].score;
      }
    }
    return found;
  }

  static constexpr int kFrames = 4, kClasses = 5;
};

TEST_F(HostArithmetic, ChangesNothing) {
  tiny({.frames = kFrames});
  for (const char* precision : {"fp32", "int8"}) {
    const bool is_for_bytes = precision == std::string("int8");
    if (is_for_bytes && best_cpu_kernels(ProductType::kInt8) == nullptr) continue;
    const std::vector<float> expected = scores(precision);
    EXPECT_NEAR(std::accumulate(expected.begin(), expected.end(), 0.0), 1, 1e-5);
    std::fenv_t usual;
    std::fegetenv(&usual);
    std::fesetround(FE_TOWARDZERO);
    feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
    const std::vector<float> found = scores(precision);
    const int rounding = std::fegetround(), traps = fegetexcept();
    std::fesetenv(&usual);
    EXPECT_EQ(found, expected) << precision;
    EXPECT_EQ(rounding, FE_TOWARDZERO) << "it is the program's";
    EXPECT_EQ(traps, FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
  }
}

}  // namespace
}  // namespace tome::testing
