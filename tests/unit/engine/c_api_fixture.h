// The table of C functions as a plugin sees it, with handles that release themselves.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/c_api.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace tome::testing {

inline const TomeCoreApi& api() { return *tome_core_api(TOME_CORE_API_VERSION); }

struct ApiDelete {
  void operator()(TomeModel* model) const { api().model_release(model); }
  void operator()(TomeStream* stream) const { api().stream_close(stream); }
  void operator()(TomeTicket* ticket) const { api().ticket_free(ticket); }
};
using ModelPtr = std::unique_ptr<TomeModel, ApiDelete>;
using StreamPtr = std::unique_ptr<TomeStream, ApiDelete>;
using TicketPtr = std::unique_ptr<TomeTicket, ApiDelete>;

inline TomeModelConfig model_config(const char* folder) {
  TomeModelConfig config{};
  config.model = folder;
  config.device = "cpu";
  config.precision = "fp32";
  config.batch_size = 4;
  config.batch_timeout_ms = 2;
  config.threads = 1;
  return config;
}

inline TomeStreamConfig stream_config() {
  TomeStreamConfig config{};
  config.top_k = 5;
  config.frame_stride = 1;
  config.inference_interval = 1;
  return config;
}

inline void count_release(void* counter) { ++*static_cast<int*>(counter); }

/// An RGB picture of one's own pixels, and the frame that refers to it.
struct Picture {
  Picture(int32_t w, int32_t h, uint32_t seed = 1) : width(w), height(h) {
    pixels.resize(static_cast<size_t>(w) * static_cast<size_t>(h) * 3);
    for (auto& value : pixels)
      value = static_cast<uint8_t>((seed = seed * 1664525U + 1013904223U) >> 24);
  }
  TomeFrame frame() {
    TomeFrame made{};
    made.format = TOME_FORMAT_RGB;
    made.width = width;
    made.height = height;
    made.pixel_aspect_n = aspect_n;
    made.pixel_aspect_d = aspect_d;
    made.plane[0] = pixels.data();
    made.stride[0] = int64_t{3} * width;
    made.plane_size[0] = pixels.size();
    made.pts = 40;
    made.duration = 20;
    made.release = count_release;
    made.release_data = &released;
    return made;
  }
  int32_t width, height, aspect_n = 1, aspect_d = 1;
  std::vector<uint8_t> pixels;
  int released = 0;
};

struct ApiTest : ::testing::Test {
  ModelPtr open(const TomeModelConfig& config) {
    TomeModel* model = nullptr;
    status = api().model_acquire(&config, &model, &error);
    return ModelPtr(model);
  }
  StreamPtr stream(const ModelPtr& model, const TomeStreamConfig& config) {
    TomeStream* opened = nullptr;
    status = api().stream_open(model.get(), &config, &opened, &error);
    return StreamPtr(opened);
  }
  TicketPtr submit(const StreamPtr& to, const TomeFrame& frame) {
    TomeTicket* ticket = nullptr;
    status = api().submit(to.get(), &frame, &ticket, &error);
    return TicketPtr(ticket);
  }
  /// Results of a ticket, valid as long as it is.
  std::vector<TomeResult> wait(const TicketPtr& ticket, TomeOutcome expected = TOME_TICKET_RESULT) {
    const TomeResult* results = nullptr;
    uint32_t n = 0;
    EXPECT_EQ(api().ticket_wait(ticket.get(), &results, &n, &error), expected) << error.message;
    return {results, results + n};
  }
  void expect_error(TomeStatus expected, const std::string& part) {
    EXPECT_EQ(status, expected) << error.message;
    EXPECT_EQ(error.status, expected);
    EXPECT_NE(std::string(error.message).find(part), std::string::npos) << error.message;
  }
  const char* tiny(const TinyShape& shape = {}) {
    save_checkpoint(tiny_checkpoint(shape), folder.path());
    return folder.path().c_str();
  }

  TemporaryFolder folder;
  TomeStatus status = TOME_OK;
  TomeError error{};
};

}  // namespace tome::testing
