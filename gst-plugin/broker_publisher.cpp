#include "broker_publisher.h"

#include <signal.h>

#include <exception>
#include <utility>

namespace tome::gst {
namespace {

/// No signal for threads that are made in this scope: SIGPIPE would end the process, and the others
/// are the application's.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_{};
};

constexpr std::chrono::milliseconds kLongestGoodbye{500};

}  // namespace

BrokerPublisher::BrokerPublisher(std::unique_ptr<BrokerLink> link, const PublishSettings& settings,
                                 PublishWarning warning)
    : drain_timeout_(settings.drain_timeout),
      link_(std::move(link)),
      queue_(std::make_shared<MessageQueue>(
          settings.queue_size, "the broker at '" + settings.address + "'", std::move(warning))) {}

BrokerPublisher::~BrokerPublisher() { close(); }

void BrokerPublisher::open() {
  std::packaged_task<void()> run([link = std::move(link_), queue = queue_]() mutable {
    try {
      link->run(*queue);
    } catch (const std::exception& error) {
      queue->disconnected(error.what(), /*for_good=*/true);
    }
    link.reset();
  });
  ended_ = run.get_future();
  const WithoutSignals guard;
  worker_ = std::thread(std::move(run));
}

bool BrokerPublisher::write(const std::string& line) {
  queue_->push(line);
  return true;
}

// Note [A worker that cannot be woken is left behind]
// Name servers that do not answer, and some connections that nobody accepts, keep a thread in the
// system's calls for seconds to minutes, and nothing ends them from outside; the end of a link
// waits for the threads of its library, which may be there. The element must stop at once, so such
// a worker goes on by itself: it owns all it uses, finds the queue stopped, and ends. So does one
// that is telling the user something: who hears it may wait for the stop, or be what stops the
// element.
void BrokerPublisher::close() {
  if (!worker_.joinable()) return;
  queue_->stop();
  const bool by_itself = worker_.get_id() == std::this_thread::get_id();
  if (!by_itself && ended_.wait_for(kLongestGoodbye) == std::future_status::ready) {
    worker_.join();
  } else {
    worker_.detach();
  }
  queue_->give_up();
}

}  // namespace tome::gst
