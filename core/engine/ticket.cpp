#include "engine/ticket.h"

#include <utility>

namespace tome {

Outcome Ticket::wait() const {
  if (!ready()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready(); });
  }
  return outcome_;
}

void Ticket::complete(Outcome outcome, std::vector<Classification> results) {
  outcome_ = outcome;
  results_ = std::move(results);
  publish();
}

void Ticket::fail(ErrorKind kind, std::string text) {
  outcome_ = Outcome::kFailed;
  error_kind_ = kind;
  error_text_ = std::move(text);
  publish();
}

void Ticket::publish() {
  {
    const std::lock_guard lock(mutex_);
    ready_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

}  // namespace tome
