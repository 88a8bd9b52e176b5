// Lines as messages to a broker, from a thread of its own.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "message_queue.h"
#include "publish_backend.h"

namespace tome::gst {

/// How one kind of broker is spoken to.
class BrokerLink {
 public:
  BrokerLink() = default;
  virtual ~BrokerLink() = default;
  BrokerLink(const BrokerLink&) = delete;
  BrokerLink& operator=(const BrokerLink&) = delete;

  /// Takes messages from the queue to the broker until the queue is stopping, through all outages.
  virtual void run(MessageQueue& queue) = 0;
};

// What both have that were built in. They read all settings. @throws PublishError
std::unique_ptr<BrokerLink> make_mqtt_link(const PublishSettings& settings);
std::unique_ptr<BrokerLink> make_kafka_link(const PublishSettings& settings);

class BrokerPublisher : public PublishBackend {
 public:
  BrokerPublisher(std::unique_ptr<BrokerLink> link, const PublishSettings& settings,
                  PublishWarning warning);
  ~BrokerPublisher() override;

  void open() override;
  bool write(const std::string& line) override;
  void finish() override { queue_->drain(drain_timeout_); }
  void close() override;
  void interrupt() override { queue_->interrupt(); }
  void resume() override { queue_->resume(); }
  PublishCounts counts() const override { return queue_->counts(); }

 private:
  const std::chrono::milliseconds drain_timeout_;
  std::unique_ptr<BrokerLink> link_;     // the thread's after open(), as its end can take long too
  std::shared_ptr<MessageQueue> queue_;  // shared with the thread, which may outlive this
  std::thread worker_;
  std::future<void> ended_;
};

}  // namespace tome::gst
