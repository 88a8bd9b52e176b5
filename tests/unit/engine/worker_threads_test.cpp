// How many threads the forwards of models that open at the same moment get.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <latch>
#include <thread>

#include "engine/open_model.h"
#include "vit/usable_cores.h"

namespace tome {
namespace {

TEST(WorkerThreads, AreEachWorkersOwnThoughAnotherSetsItsBeforeTheyAreUsed) {
  if (usable_cores() < 2) GTEST_SKIP() << "this process has one core";
  // Not the first worker of the process, which asks for the default.
  std::thread([] { set_worker_threads(0); }).join();
  std::latch one_set(1), other_set(1);
  int one = 0, other = 0;
  std::thread first([&] {
    set_worker_threads(1);
    one_set.count_down();
    other_set.wait();
    at::parallel_for(0, 1, 1, [](int64_t, int64_t) {});
    one = at::get_num_threads();
  });
  std::thread second([&] {
    one_set.wait();
    set_worker_threads(2);
    other_set.count_down();
    other = at::get_num_threads();
  });
  first.join();
  second.join();
  EXPECT_EQ(one, 1);
  EXPECT_EQ(other, 2);
}

TEST(WorkerThreads, AreTheProcesssDefaultWhereNoneAreAskedFor) {
  int first = 0, later = 0;
  std::thread([&] {
    set_worker_threads(0);
    first = at::get_num_threads();
  }).join();
  std::thread([] { set_worker_threads(1); }).join();
  std::thread([&] {
    set_worker_threads(0);
    later = at::get_num_threads();
  }).join();
  EXPECT_EQ(later, first);
}

}  // namespace
}  // namespace tome
