#include "message_queue.h"

#include <algorithm>
#include <utility>

namespace tome::gst {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

MessageQueue::MessageQueue(size_t capacity, std::string place, PublishWarning warning,
                           milliseconds calm)
    : capacity_(capacity), place_(std::move(place)), calm_(calm), warning_(std::move(warning)) {}

void MessageQueue::push(std::string text) {
  bool full = false, old = false;
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back({++last_number_, std::move(text), steady_clock::now()});
    told_of_loss_ = false;
    full = drop_oldest() > 0;
    old = is_old();
  }
  wake_up_.set();
  if (full) {
    tell(kSlow, "takes messages more slowly than they come: the oldest are dropped");
  } else if (old) {
    tell(kSlow, "has taken no message for " + std::to_string(kOld.count()) + " s");
  }
}

/// Down to the capacity. @return how many were dropped
uint64_t MessageQueue::drop_oldest() {
  uint64_t dropped = 0;
  for (; waiting_.size() > capacity_; ++dropped) waiting_.pop_front();
  counts_.dropped += dropped;
  return dropped;
}

/// While a backlog is worked off, its messages are old, but the broker takes them.
bool MessageQueue::is_old() const {
  const Message& oldest = on_their_way_.empty() ? waiting_.front() : on_their_way_.begin()->second;
  return steady_clock::now() - std::max(oldest.since, last_delivery_) > kOld;
}

/// The beginning of a warning.
std::string MessageQueue::undelivered(uint64_t number) const {
  return std::to_string(number) + (number == 1 ? " message was" : " messages were") +
         " not delivered to " + place_;
}

void MessageQueue::drain(milliseconds longest) {
  uint64_t left = 0;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, longest, [&] { return interrupted_ || outstanding() == 0; });
    if (interrupted_ || outstanding() == 0) return;
    left = outstanding();
    told_of_loss_ = true;
  }
  warn(undelivered(left) + " within " + std::to_string(longest.count()) +
       " ms of the end of the stream");
}

void MessageQueue::interrupt() {
  const std::scoped_lock lock(mutex_);
  interrupted_ = true;
  changed_.notify_all();
}

void MessageQueue::resume() {
  const std::scoped_lock lock(mutex_);
  interrupted_ = false;
}

void MessageQueue::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  wake_up_.set();
}

void MessageQueue::give_up() {
  uint64_t left = 0;
  bool told = false;
  {
    const std::scoped_lock lock(mutex_);
    left = outstanding();
    counts_.lost += left;
    waiting_.clear();
    on_their_way_.clear();
    told = std::exchange(told_of_loss_, true);
  }
  if (left > 0 && !told) warn(undelivered(left) + " before the stop");
  PublishWarning forgotten;  // what it owns goes with it, unlocked
  const std::scoped_lock lock(mutex_);
  warning_.swap(forgotten);
}

PublishCounts MessageQueue::counts() const {
  const std::scoped_lock lock(mutex_);
  PublishCounts counts = counts_;
  counts.queued = outstanding();
  return counts;
}

std::optional<Message> MessageQueue::take() {
  const std::scoped_lock lock(mutex_);
  if (waiting_.empty() || on_their_way_.size() >= kMostOnTheirWay || stopping_) return {};
  if (!on_their_way_.empty() && on_their_way_.begin()->second.closings > 0) return {};
  Message message = std::move(waiting_.front());
  waiting_.pop_front();
  on_their_way_[message.number] = message;
  return message;
}

void MessageQueue::delivered(uint64_t number) {
  const std::scoped_lock lock(mutex_);
  if (on_their_way_.erase(number) == 0) return;
  ++counts_.published;
  last_delivery_ = steady_clock::now();
  for (Told& told : told_) told.taken = true;
  told_[kRefused].recovered = told_[kDisconnected].recovered = true;
  // Not while it lags behind: the next message may push out one more.
  if (waiting_.size() < (capacity_ + 1) / 2) told_[kSlow].recovered = true;
  changed_.notify_all();
}

void MessageQueue::refused(uint64_t number, const std::string& why) {
  {
    const std::scoped_lock lock(mutex_);
    if (on_their_way_.erase(number) == 0) return;
    ++counts_.lost;
    changed_.notify_all();
  }
  tell(kRefused, "did not take a message: " + why);
}

void MessageQueue::give_back(bool over_first) {
  uint64_t culprit = 0;
  if (const std::scoped_lock lock(mutex_); over_first && !on_their_way_.empty()) {
    Message& first = on_their_way_.begin()->second;
    if (++first.closings == kMostClosings) culprit = first.number;
  }
  if (culprit != 0) refused(culprit, "it closes the connection whenever this comes");
  const std::scoped_lock lock(mutex_);
  for (auto at = on_their_way_.rbegin(); at != on_their_way_.rend(); ++at) {
    waiting_.push_front(std::move(at->second));
  }
  on_their_way_.clear();
  drop_oldest();
}

void MessageQueue::disconnected(const std::string& why, bool for_good) {
  tell(kDisconnected, "is not connected: " + why, for_good);
}

bool MessageQueue::stopping() const {
  const std::scoped_lock lock(mutex_);
  return stopping_;
}

bool MessageQueue::pause(milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [&] { return stopping_; });
}

/// @return what the user was told of and `trouble` comes from, or is seen by; none if there is none
MessageQueue::Told* MessageQueue::told_as(Trouble trouble) {
  Told& slow = told_[kSlow];
  Told& disconnected = told_[kDisconnected];
  // A slow broker is seen at each message, hence `taken`.
  if (trouble == kSlow && disconnected.last && !disconnected.recovered) return &disconnected;
  if (trouble == kDisconnected && slow.last && !slow.taken) return &slow;
  return nullptr;
}

bool MessageQueue::is_news(Trouble trouble) {
  const auto now = steady_clock::now();
  const auto see = [now](Told& told) {
    told.last = now;
    told.recovered = false;
  };
  Told& own = told_[trouble];
  Told* other = told_as(trouble);
  const bool told = own.last && !(own.recovered && now - *own.last >= calm_);
  if (other != nullptr) see(*other);
  // Known as the other only, it is news where it comes without that.
  if (told || other == nullptr) see(own);
  if (told || other != nullptr) return false;
  own.taken = false;
  return true;
}

void MessageQueue::tell(Trouble trouble, const std::string& text, bool for_good) {
  {
    const std::scoped_lock lock(mutex_);
    const bool news = is_news(trouble);
    if (!(news || for_good) || stopping_) return;
  }
  std::string sentence = place_ + " " + text;
  sentence[0] = g_ascii_toupper(sentence[0]);
  warn(sentence);
}

/// Calls it unlocked: who is warned may ask for the counts, stop the element, or wait for whoever
/// stops it.
void MessageQueue::warn(const std::string& text) {
  PublishWarning warning;
  {
    const std::scoped_lock lock(mutex_);
    warning = warning_;
  }
  if (warning) warning(text);
}

}  // namespace tome::gst
