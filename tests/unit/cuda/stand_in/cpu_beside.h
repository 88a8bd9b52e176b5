// A model on the CPU, in a process whose devices fail.
#pragma once

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/device_fixtures.h"
#include "cuda/logged.h"
#include "engine/open_model.h"
#include "temporary_folder.h"

namespace tome::testing {

class CpuBeside {
 public:
  CpuBeside() {
    save_small_model(folder_.path());
    open_ = open_model(on("cpu"));
    expected_ = logits(open_);
  }

  /// The same model on another device.
  InstanceConfig on(const char* device, const char* precision = "fp32") const {
    InstanceConfig config;
    config.model = folder_.path().string();
    config.device = device;
    config.precision = precision;
    return config;
  }

  /// The model that was open, and one that `auto` opens on the CPU, which says why.
  void expect_works_on(const std::string& why) const {
    EXPECT_EQ(logits(open_), expected_) << "a model that was open";
    const Logged said(LogLevel::kInfo);
    const OpenedModel opened = open_model(on("auto"));
    EXPECT_EQ(said.text().find("device=auto: the CPU ("), 0U) << said.text();
    EXPECT_NE(said.text().find(why), std::string::npos) << said.text();
    EXPECT_EQ(opened.description.device, "cpu");
    EXPECT_EQ(logits(opened), expected_) << "one that was opened since";
  }

 private:
  static std::vector<float> logits(const OpenedModel& opened) {
    return run(*opened.session.session, pictures(2), 1, {3, 3, 3}).logits;
  }

  const c10::InferenceMode inference_;
  TemporaryFolder folder_;
  OpenedModel open_;
  std::vector<float> expected_;
};

}  // namespace tome::testing
