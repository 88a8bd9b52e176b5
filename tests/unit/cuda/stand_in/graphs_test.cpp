// What a graph keeps of what was captured: counters are cleared once, at its beginning, and nothing
// else changes its place.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/graph.h"
#include "cuda/stand_in/fixtures.h"
#include "cuda/stand_in/runtime.h"
#include "cuda/stream.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

using stand_in::Step;

size_t bytes_of(const Step& memset) { return memset.memset.width * memset.memset.elementSize; }
bool is_memset(const Step& step) { return step.type == cudaGraphNodeTypeMemset; }

/// Counters in the middle of a device's memory, and two streams there.
class GraphWork {
 public:
  static constexpr size_t kBefore = 256, kCounters = 512;

  void kernel(cuda::Stream stream) {
    cudaLaunchConfig_t config{};
    config.stream = stream;
    ASSERT_EQ(cudaLaunchKernelExC(&config, nullptr, nullptr), cudaSuccess);
  }
  /// In elements as large as they can be.
  /// @param at  from the first counter
  void set(ptrdiff_t at, size_t bytes, unsigned value = 0, size_t rows = 1) {
    cudaMemsetParams p{};
    p.dst = first() + at;
    p.value = value;
    p.elementSize = bytes % 4 == 0 ? 4 : 1;
    p.width = bytes / p.elementSize;
    p.height = rows;
    const auto place = [&] { return stand_in::place(main(), stand_in::memset_of(p)); };
    ASSERT_EQ(stand_in::in_context(place), cudaSuccess);
  }
  void product(ptrdiff_t counter) {
    set(counter, 4);
    kernel(main());
  }
  void fork() { forked_.order(main(), side()); }
  void join() { joined_.order(side(), main()); }

  cuda::Stream main() const { return main_.get(); }
  cuda::Stream side() const { return side_.get(); }
  unsigned char* first() const { return memory_.as<unsigned char>() + kBefore; }
  std::span<unsigned char> counters() const { return {first(), kCounters}; }

  template <class Enqueue>
  std::vector<Step> captured(Enqueue&& enqueue) const {
    const cuda::Graph graph(main(), enqueue, counters());
    return stand_in::last_graph();
  }

 private:
  cuda::DeviceMemory memory_{2 * kBefore + kCounters, "test"};
  cuda::OwnedStream main_, side_;
  cuda::Event forked_, joined_;
};

class StandInGraphs : public StandIn {
 protected:
  template <class Body>
  void with_work(Body&& body) {
    in_a_new_thread([&] {
      const cuda::CurrentDevice device(0);
      GraphWork work;
      body(work);
    });
    expect_nothing_left();
  }

  /// The first step clears all counters, and all else comes after it.
  static void expect_cleared_first(const std::vector<Step>& steps, const GraphWork& work) {
    ASSERT_FALSE(steps.empty());
    ASSERT_TRUE(is_memset(steps[0]));
    EXPECT_EQ(steps[0].memset.dst, work.first());
    EXPECT_EQ(bytes_of(steps[0]), GraphWork::kCounters);
    EXPECT_EQ(steps[0].memset.value, 0U);
    EXPECT_TRUE(steps[0].after.empty());
    for (size_t i = 1; i < steps.size(); ++i) EXPECT_FALSE(steps[i].after.empty()) << i;
  }
  /// Where each memset but the first begins, from the first counter.
  static std::vector<std::pair<ptrdiff_t, size_t>> kept(const std::vector<Step>& steps,
                                                        const GraphWork& work) {
    std::vector<std::pair<ptrdiff_t, size_t>> found;
    for (size_t i = 1; i < steps.size(); ++i) {
      if (!is_memset(steps[i])) continue;
      const auto* begin = static_cast<unsigned char*>(steps[i].memset.dst);
      found.emplace_back(begin - work.first(), bytes_of(steps[i]));
    }
    return found;
  }
  static void expect_chain(const std::vector<Step>& steps) {
    for (size_t i = 1; i < steps.size(); ++i) {
      EXPECT_EQ(steps[i].after, std::vector<size_t>{i - 1}) << i;
    }
  }
};

using Kept = std::vector<std::pair<ptrdiff_t, size_t>>;

TEST_F(StandInGraphs, CountersAreClearedOnceAtTheBeginning) {
  with_work([](GraphWork& work) {
    const auto steps = work.captured([&] {
      work.product(0);
      work.product(256);
      work.kernel(work.main());
      work.product(4);
    });
    expect_cleared_first(steps, work);
    EXPECT_EQ(kept(steps, work), Kept{});
    EXPECT_EQ(steps.size(), 1U + 4);
    expect_chain(steps);
  });
}

/// It has more than one user.
TEST_F(StandInGraphs, WhatIsClearedTwiceStaysWhereItIs) {
  with_work([](GraphWork& work) {
    const Kept overlapping{{0, 100}, {20, 4}, {10, 4}, {99, 2}, {300, 4}, {300, 4}};
    const auto steps = work.captured([&] {
      for (const auto& [at, bytes] : overlapping) {
        work.set(at, bytes);
        work.kernel(work.main());
      }
      work.product(101);  // begins where the one before it ends
      work.product(304);
    });
    expect_cleared_first(steps, work);
    EXPECT_EQ(kept(steps, work), overlapping);
    EXPECT_EQ(steps.size(), 1U + 2 * overlapping.size() + 2);
    expect_chain(steps);
  });
}

TEST_F(StandInGraphs, WhatIsNoCounterIsClearedWhereItIs) {
  with_work([](GraphWork& work) {
    constexpr auto kEnd = static_cast<ptrdiff_t>(GraphWork::kCounters);
    const auto steps = work.captured([&] {
      work.set(-4, 4);
      work.set(-2, 4);
      work.set(kEnd - 2, 4);
      work.set(kEnd, 4);
      work.set(8, 4, 1);      // not to zero
      work.set(16, 4, 0, 2);  // in two rows
      work.product(0);
      work.product(kEnd - 4);
    });
    expect_cleared_first(steps, work);
    EXPECT_EQ(kept(steps, work),
              (Kept{{-4, 4}, {-2, 4}, {kEnd - 2, 4}, {kEnd, 4}, {8, 4}, {16, 4}}));
    expect_chain(steps);
  });
}

/// In place of a memset come edges from all before it to all after it.
TEST_F(StandInGraphs, WhatCameBeforeAClearingComesBeforeWhatCameAfterIt) {
  with_work([](GraphWork& work) {
    const auto steps = work.captured([&] {
      work.kernel(work.main());  // 1
      work.fork();
      work.kernel(work.side());  // 2
      work.kernel(work.main());  // 3
      work.join();
      work.product(0);  // 4
      work.set(8, 4);
      work.fork();
      work.kernel(work.side());  // 5
      work.kernel(work.main());  // 6
      work.join();
      work.kernel(work.main());  // 7
    });
    expect_cleared_first(steps, work);
    EXPECT_EQ(kept(steps, work), Kept{});
    const std::vector<std::vector<size_t>> after{{}, {0}, {1}, {1}, {2, 3}, {2, 4}, {4}, {5, 6}};
    ASSERT_EQ(steps.size(), after.size());
    for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].after, after[i]) << i;
  });
}

TEST_F(StandInGraphs, AllThatBeginsAGraphComesAfterTheClearing) {
  with_work([](GraphWork& work) {
    const auto steps = work.captured([&] {
      work.fork();
      work.kernel(work.side());  // 1
      work.product(0);           // 2
      work.join();
      work.kernel(work.main());  // 3
    });
    expect_cleared_first(steps, work);
    const std::vector<std::vector<size_t>> after{{}, {0}, {0}, {1, 2}};
    ASSERT_EQ(steps.size(), after.size());
    for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].after, after[i]) << i;
  });
}

TEST_F(StandInGraphs, WithoutCountersNothingIsTakenOut) {
  with_work([](GraphWork& work) {
    const cuda::Graph graph(work.main(), [&] { work.product(0); });
    const auto steps = stand_in::last_graph();
    ASSERT_EQ(steps.size(), 2U);
    EXPECT_TRUE(is_memset(steps[0]));
    EXPECT_EQ(bytes_of(steps[0]), 4U);
    expect_chain(steps);
  });
}

TEST_F(StandInGraphs, AForkThatIsNotJoinedIsAnErrorAndItsStreamsWorkOn) {
  with_work([](GraphWork& work) {
    const auto fork_alone = [&] {
      work.fork();
      work.kernel(work.side());
      work.kernel(work.main());
    };
    try {
      work.captured(fork_alone);
      FAIL() << "captured";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_NE(std::string(error.what()).find("error 904"), std::string::npos) << error.what();
    }
    EXPECT_EQ(stand_in::last_error(), 0);
    const auto joined = [&] {
      fork_alone();
      work.join();
    };
    EXPECT_EQ(work.captured(joined).size(), 3U);
  });
}

TEST_F(StandInGraphs, WhatThrowsAfterAForkIsPassedOnAndTheStreamsWorkOn) {
  with_work([](GraphWork& work) {
    const auto throws = [&] {
      work.fork();
      work.kernel(work.side());
      throw std::runtime_error("of the enqueuer's own");
    };
    try {
      work.captured(throws);
      FAIL() << "captured";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "of the enqueuer's own");
    }
    EXPECT_EQ(stand_in::last_error(), 0);
    EXPECT_NO_THROW(cuda::synchronise(work.side()));
    EXPECT_EQ(work.captured([&] { work.product(0); }).size(), 2U);
  });
}

/// Of the forward's memsets, matching's alone is left beside the one for all counters.
TEST_F(StandInGraphs, AForwardClearsItsProductsCountersOnce) {
  in_a_new_thread([&] {
    const Model model(small());
    const auto session = model.session();
    for (int i = 0; i < 4; ++i) run(*session, pictures(2), 1, {2, 2, 2});
    EXPECT_EQ(session->graphs(), 1U);
    const auto steps = stand_in::last_graph();
    ASSERT_FALSE(steps.empty());
    std::vector<size_t> cleared;
    for (const Step& step : steps) {
      if (is_memset(step)) cleared.push_back(bytes_of(step));
    }
    ASSERT_EQ(cleared.size(), 2U);
    EXPECT_TRUE(is_memset(steps[0]));
    constexpr size_t kProducts = 1 + 3 * 4 + 1;
    EXPECT_GE(cleared[0], 4 * kProducts);
    EXPECT_EQ(cleared[1], 2U * 4) << "a counter for each picture";
    expect_chain(steps);
  });
  expect_nothing_left();
}

}  // namespace
}  // namespace tome::testing
