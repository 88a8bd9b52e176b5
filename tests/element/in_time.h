// Tasks that may never end, as a deadlock does not.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <thread>
#include <utility>

namespace tome::testing {

/// Runs `task` in a thread. @return whether it ended within 20 s; else it is left behind
inline bool ends(const std::function<void()>& task) {
  std::packaged_task<void()> packaged(task);
  auto ended = packaged.get_future();
  std::thread thread(std::move(packaged));
  const bool in_time = ended.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  in_time ? thread.join() : thread.detach();
  return in_time;
}

}  // namespace tome::testing
