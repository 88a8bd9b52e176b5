// The messages that a broker has not taken yet.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "publish_backend.h"
#include "wake_up.h"

namespace tome::gst {

struct Message {
  uint64_t number = 0;
  std::string text;
  std::chrono::steady_clock::time_point since{};
  int closings = 0;  // connections that ended over it
};

// Note [A broker never holds up the video]
// The streaming thread only appends to this queue. It is bounded: when it is full, its oldest
// message goes, because what is seen now matters more than what was. Another thread, the worker,
// hands the messages to the broker, a few at a time, so that few are out of the queue's reach, and
// keeps each until the broker has it: when a connection breaks, they are sent again over the next.
//
// The user hears of an outage once, from whoever sees it first: the worker, which cannot connect,
// or the streaming thread, which sees that messages are getting old or that the queue is full. The
// one follows from the other, so they are two troubles only where a message arrived in between. A
// trouble is over when a message has arrived and it is not seen for half a minute: two MQTT clients
// of one name end each other's connections for ever, and get messages through in between.
// Messages that the broker refuses are told apart from all that: one now and then, too large for
// it, must not hide that it has gone. One of MQTT cannot say so, and closes the connection. Sent
// again and again such a message would keep all others from it, until the queue is full: where a
// connection has ended before any message arrived, the oldest goes alone, and not a fourth time.
class MessageQueue {
 public:
  /// How long a trouble must stay away before it is something new. Longer than the longest
  /// wait between two attempts to connect: so long lasts each turn of two clients that take turns.
  static constexpr std::chrono::seconds kCalm{30};

  /// @param place the broker, as in the middle of a warning
  MessageQueue(size_t capacity, std::string place, PublishWarning warning,
               std::chrono::milliseconds calm = kCalm);

  // ---- of the streaming thread ----

  void push(std::string text);
  /// Waits until all messages are delivered, and warns if they are not within `longest`.
  void drain(std::chrono::milliseconds longest);
  void interrupt();
  void resume();
  /// Ends the worker's run.
  void stop();
  /// Gives up what is left, and warns. From here on no warning begins; one that another thread is
  /// in the middle of is not waited for, because whoever hears it may be waiting for this.
  void give_up();
  PublishCounts counts() const;

  // ---- of the worker ----

  /// The oldest message, which is now on its way; none if there is none, or too many are.
  std::optional<Message> take();
  void delivered(uint64_t number);
  /// It will never be.
  void refused(uint64_t number, const std::string& why);
  /// All that is on its way has to be sent again.
  /// @param over_first the broker may have ended the connection over the oldest
  void give_back(bool over_first = false);
  /// @param for_good it will not connect again, which is told in any case
  void disconnected(const std::string& why, bool for_good = false);

  bool stopping() const;
  /// Waits so long, or until it has to stop. @return whether it has
  bool pause(std::chrono::milliseconds time);
  /// Set by push() and stop().
  const WakeUp& wake_up() const { return wake_up_; }

 private:
  static constexpr size_t kMostOnTheirWay = 100;
  static constexpr int kMostClosings = 3;
  static constexpr std::chrono::seconds kOld{5};

  /// Slow: the queue is full, or its messages get old.
  enum Trouble : size_t { kRefused, kSlow, kDisconnected, kTroubles };
  struct Told {
    std::optional<std::chrono::steady_clock::time_point> last;  // seen; none if it never was told
    bool recovered = false;                                     // since it was seen
    bool taken = false;  // by the broker, a message, since it was told
  };

  void warn(const std::string& text);
  void tell(Trouble trouble, const std::string& text, bool for_good = false);
  bool is_news(Trouble trouble);
  Told* told_as(Trouble trouble);
  size_t outstanding() const { return waiting_.size() + on_their_way_.size(); }
  uint64_t drop_oldest();
  bool is_old() const;
  std::string undelivered(uint64_t number) const;

  const size_t capacity_;
  const std::string place_;
  const std::chrono::milliseconds calm_;
  const WakeUp wake_up_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> waiting_;
  std::map<uint64_t, Message> on_their_way_;
  PublishCounts counts_;
  uint64_t last_number_ = 0;
  std::chrono::steady_clock::time_point last_delivery_{};
  std::array<Told, kTroubles> told_;
  bool interrupted_ = false;
  bool stopping_ = false;
  bool told_of_loss_ = false;  // the user was, about all that is outstanding
  PublishWarning warning_;
};

}  // namespace tome::gst
