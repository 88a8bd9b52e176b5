// What the log says of a stream.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/log.h"
#include "fake_session.h"

namespace tome {
namespace {

struct StreamLog : ::testing::Test {
  StreamLog() {
    set_log_sink([this](LogLevel level, const std::string& text) {
      if (level == LogLevel::kInfo) lines.push_back(text);
    });
  }
  ~StreamLog() override { set_log_sink({}); }
  void expect_in_last_line(const std::string& part) const {
    ASSERT_FALSE(lines.empty());
    EXPECT_NE(lines.back().find(part), std::string::npos) << lines.back();
  }
  testing::FakeModel model{1};
  std::vector<std::string> lines;
};

TEST_F(StreamLog, NamesTheStreamThatOpens) {
  StreamConfig config;
  config.name = "front door";
  config.schedule = "3";
  const auto named = model.stream(config);
  expect_in_last_line("stream front door of fake");
  expect_in_last_line("schedule 3");
  const auto unnamed = model.stream();
  expect_in_last_line("without a name of fake");
  expect_in_last_line("schedule 0");  // the model's
}

}  // namespace
}  // namespace tome
