// What the launch functions say where there is no GPU, and to requests that make no sense.
#include <gtest/gtest.h>

#include <string>

#include "cuda/device.h"
#include "cuda/needs_device.h"
#include "cuda/stream.h"
#include "merging/match_cuda.h"
#include "merging/merge_cuda.h"
#include "merging/merge_launch.h"
#include "tome_error.h"
#include "vit/attention_cuda.h"

namespace tome::testing {
namespace {

cuda::MatchRequest match_request(int tokens) {
  cuda::MatchRequest q;
  q.batch = 1;
  q.tokens = tokens;
  q.channels = 64;
  q.r = 4;
  q.halves.a_first = 2;
  q.halves.n_fixed = 1;
  q.halves.n_a = (tokens - 1) / 2;
  q.halves.n_b = tokens / 2;
  return q;
}

TEST(DeviceErrors, WithoutOneTheErrorSaysWhatIsMissing) {
  const auto why = why_no_device();
  if (!why) GTEST_SKIP() << "there is a device";
  EXPECT_NE(why->find("CUDA"), std::string::npos) << *why;
  EXPECT_TRUE(why->find("driver") != std::string::npos || why->find("device") != std::string::npos)
      << *why;
  try {
    cuda::DeviceMemory memory(16, "weights");
    FAIL() << "memory of a device that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("weights"), std::string::npos) << error.what();
  }
  EXPECT_THROW(cuda::try_kernel(), Error);
  EXPECT_THROW(cuda::CurrentDevice(0), Error);
  try {
    cuda::match_tokens(match_request(197), nullptr);
    FAIL() << "a launch on a device that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("matching"), std::string::npos) << error.what();
  }
}

TEST(DeviceErrors, RequestsThatMakeNoSenseAreRefusedBeforeAnyLaunch) {
  const auto expect_refused = [](auto&& call) {
    try {
      call();
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSettings) << error.what();
    }
  };
  cuda::MatchRequest match = match_request(197);
  match.r = 99;
  expect_refused([&] { cuda::match_tokens(match, nullptr); });
  match = match_request(197);
  match.halves.n_b = 97;
  expect_refused([&] { cuda::match_tokens(match, nullptr); });
  cuda::MergeRequest merge;
  merge.batch = 1;
  merge.tokens_in = 10;
  merge.tokens_out = 9;  // fewer, and no plan
  merge.channels = 64;
  expect_refused([&] { cuda::merge_tokens(merge, nullptr); });
  merge.tokens_out = 10;
  merge.channels = cuda::kMergeMaxChannels + 1;
  expect_refused([&] { cuda::merge_tokens(merge, nullptr); });
  cuda::AttentionRequest attention;
  attention.batch = attention.heads = attention.tokens = 1;
  attention.dim = 48;
  expect_refused([&] { cuda::attend(attention, nullptr); });
  attention.dim = 64;
  attention.token_stride = 100;
  expect_refused([&] { cuda::attend(attention, nullptr); });
}

}  // namespace
}  // namespace tome::testing
