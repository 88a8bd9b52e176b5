#include "output_turn.h"

#include <map>
#include <utility>

namespace tome::gst {

std::shared_ptr<OutputTurn> OutputTurn::of(const struct stat& file,
                                           const std::function<void()>& if_first) {
  static std::mutex mutex;
  static std::map<std::pair<dev_t, ino_t>, std::weak_ptr<OutputTurn>> turns;
  const std::scoped_lock lock(mutex);
  std::erase_if(turns, [](const auto& turn) { return turn.second.expired(); });
  auto& known = turns[{file.st_dev, file.st_ino}];
  auto turn = known.lock();
  if (!turn && if_first) if_first();
  if (!turn) known = turn = std::make_shared<OutputTurn>();
  return turn;
}

std::shared_ptr<OutputTurn> OutputTurn::of_standard_output(const struct stat& file) {
  static std::mutex mutex;
  static std::shared_ptr<OutputTurn> kept;
  const std::scoped_lock lock(mutex);
  kept = of(file);
  return kept;
}

bool OutputTurn::take(const WakeUp& interruption) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !taken_ || interruption.is_set(); });
  if (taken_) return false;
  taken_ = true;
  return true;
}

void OutputTurn::give_back(bool torn) {
  const std::scoped_lock lock(mutex_);
  taken_ = false;
  torn_ = torn;
  changed_.notify_all();
}

void OutputTurn::look_again() {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

}  // namespace tome::gst
