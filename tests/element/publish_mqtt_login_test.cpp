// tomepublish to an MQTT broker that does not let everybody in, or that is not trusted.
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "listening_port.h"
#include "mqtt_fixture.h"

namespace tome::testing {
namespace {

using std::chrono::milliseconds;

TEST_F(Mqtt, AUserHasAPassword) {
  MosquittoBroker broker("door", "secret");
  Subscriber subscriber(broker.port(), "door", "secret");
  const auto right = broker.folder() / "right", wrong = broker.folder() / "wrong";
  std::ofstream(right) << "secret\n";
  std::ofstream(wrong) << "guess\n";
  {
    Harness h({{"method", "mqtt"},
               {"address", broker.address().c_str()},
               {"topic", kTopic},
               {"username", "door"},
               {"password-file", wrong.c_str()}},
              "tomepublish");
    h.set_caps();
    push(h, 0, 10);
    const std::string heard = h.error_text(nullptr, GST_MESSAGE_WARNING);
    EXPECT_NE(heard.find("not auth"), std::string::npos) << heard;
    EXPECT_EQ(heard.find("guess"), std::string::npos) << heard;
    EXPECT_EQ(count(h, "published"), 0U);
  }
  Harness h({{"method", "mqtt"},
             {"address", broker.address().c_str()},
             {"topic", kTopic},
             {"username", "door"},
             {"password-file", right.c_str()}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  h.push_event(gst_event_new_eos());
  expect_in_order(subscriber.wait_for(10), 10);
}

TEST_F(Mqtt, APasswordThatChangesIsThatOfTheNextConnection) {
  MosquittoBroker broker("door", "secret");
  const auto file = broker.folder() / "password";
  std::ofstream(file) << "secret\n";
  Harness h({{"method", "mqtt"},
             {"address", broker.address().c_str()},
             {"topic", kTopic},
             {"username", "door"},
             {"password-file", file.c_str()}},
            "tomepublish");
  h.set_caps();
  push(h, 0, 10);
  ASSERT_TRUE(comes([&] { return count(h, "published") == 10; }));
  broker.stop();
  broker.set_password("door", "changed");
  std::ofstream(file) << "changed\n";
  broker.start();
  Subscriber subscriber(broker.port(), "door", "changed");
  push(h, 10, 20);
  EXPECT_TRUE(comes([&] { return count(h, "published") == 20; }));
  subscriber.wait_for(10);
  // One that is gone, or not there yet, is as before.
  std::filesystem::remove(file);
  broker.stop();
  broker.start();
  push(h, 20, 30);
  EXPECT_TRUE(comes([&] { return count(h, "published") == 30; }));
}

/// Plays ten frames: either all arrive, or none does and a warning says why.
void expect_taken(Harness& h, bool taken, const char* why = "") {
  h.set_caps();
  push(h, 0, 10);
  if (taken) {
    EXPECT_TRUE(comes([&] { return count(h, "published") == 10; }));
    EXPECT_TRUE(warnings(h).empty());
  } else {
    const std::string warning = h.error_text(nullptr, GST_MESSAGE_WARNING);
    EXPECT_NE(warning.find(why), std::string::npos) << warning;
    EXPECT_NE(warning, "");
    EXPECT_EQ(count(h, "published"), 0U);
  }
}

TEST_F(Mqtt, TlsTrustsTheGivenCertificatesOnly) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  const std::string address = "localhost:" + std::to_string(made->tls_port());
  for (const char* ca : {"ca.pem", "other.pem"}) {
    const auto file = made->folder() / ca;
    Harness h({{"method", "mqtt"},
               {"address", address.c_str()},
               {"topic", kTopic},
               {"ca-file", file.c_str()},
               {"drain-timeout", "500"}},
              "tomepublish");
    expect_taken(h, std::string(ca) == "ca.pem", "certificate verify failed");
  }
}

TEST_F(Mqtt, TlsToNobodyIsRefused) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  const std::string ca = made->folder() / "ca.pem";
  Harness h({{"method", "mqtt"},
             {"address", address.c_str()},
             {"topic", kTopic},
             {"ca-file", ca.c_str()},
             {"drain-timeout", "500"}},
            "tomepublish");
  expect_taken(h, false, "Connection refused");
}

TEST_F(Mqtt, ABrokerThatKnowsItsClientsTakesTheirCertificateOnly) {
  const auto made = MosquittoBroker::with_tls(/*clients_known=*/true);
  if (!made) GTEST_SKIP() << "no openssl here";
  const std::string address = "localhost:" + std::to_string(made->tls_port());
  const std::string ca = made->folder() / "ca.pem";
  for (const std::string name : {"client", "other"}) {
    const std::string cert = made->folder() / (name + ".pem");
    const std::string key = made->folder() / (name + ".key");
    Harness h({{"method", "mqtt"},
               {"address", address.c_str()},
               {"topic", kTopic},
               {"ca-file", ca.c_str()},
               {"cert-file", cert.c_str()},
               {"key-file", key.c_str()},
               {"drain-timeout", "500"}},
              "tomepublish");
    expect_taken(h, name == "client");
  }
}

/// A broker without TLS that keeps the first byte of each caller and hangs up.
class Eavesdropper {
 public:
  Eavesdropper() : port_(8) {
    serving_ = std::jthread([this] { serve(); });
  }
  ~Eavesdropper() {
    shutdown(port_.socket_number(), SHUT_RDWR);  // ends the accept
    serving_.join();
  }
  Eavesdropper(const Eavesdropper&) = delete;
  Eavesdropper& operator=(const Eavesdropper&) = delete;

  std::string address() const { return port_.address(); }
  std::vector<unsigned char> heard() {
    const std::scoped_lock lock(mutex_);
    return heard_;
  }

 private:
  void serve() {
    int caller = 0;
    while ((caller = accept(port_.socket_number(), nullptr, nullptr)) >= 0) {
      unsigned char first = 0;
      if (read(caller, &first, 1) == 1) {
        const std::scoped_lock lock(mutex_);
        heard_.push_back(first);
      }
      close(caller);
    }
  }

  ListeningPort port_;
  std::mutex mutex_;
  std::vector<unsigned char> heard_;
  std::jthread serving_;
};

TEST_F(Mqtt, WithoutItsCertificatesItSaysNothingInTheClear) {
  const auto made = MosquittoBroker::with_tls();
  if (!made) GTEST_SKIP() << "no openssl here";
  Eavesdropper listener;
  const std::string ca = made->folder() / "ca.pem", password = made->folder() / "password";
  std::ofstream(password) << "secret\n";
  Harness h({{"method", "mqtt"},
             {"address", listener.address().c_str()},
             {"topic", kTopic},
             {"username", "door"},
             {"password-file", password.c_str()},
             {"ca-file", ca.c_str()},
             {"drain-timeout", "100"}},
            "tomepublish");
  h.set_caps();
  ASSERT_TRUE(comes([&] { return !listener.heard().empty(); }));
  std::filesystem::remove(ca);
  push(h, 0, 1);
  // One more may have been under way; then they come after 1 s and 2 s, or not at all.
  std::this_thread::sleep_for(milliseconds(3500));
  constexpr unsigned char kHandshake = 0x16;  // of TLS; MQTT's CONNECT is 0x10
  for (const unsigned char first : listener.heard()) EXPECT_EQ(first, kHandshake);
}

}  // namespace
}  // namespace tome::testing
