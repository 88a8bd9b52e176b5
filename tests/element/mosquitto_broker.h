// A mosquitto of one test's own.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

namespace tome::testing {

/// Listens on a free port of this machine, in a folder of its own. Keeps subscriptions, and
/// messages for subscribers that are away, through a restart.
class MosquittoBroker {
 public:
  /// Installed, or unpacked by setup.sh.
  static bool is_here() { return !program().empty(); }

  /// With a `user`, nobody else is let in.
  explicit MosquittoBroker(const std::string& user = "", const std::string& password = "");
  /// With a TLS port besides, whose certificate is signed by ca.pem, and not by other.pem; with
  /// `clients_known` it lets in only who shows client.pem (of client.key). Null where there is no
  /// openssl to make them.
  static std::unique_ptr<MosquittoBroker> with_tls(bool clients_known = false);
  ~MosquittoBroker();
  MosquittoBroker(const MosquittoBroker&) = delete;
  MosquittoBroker& operator=(const MosquittoBroker&) = delete;

  void start();
  void stop();
  /// Of the only user that there is; of one that was made with none it does nothing.
  void set_password(const std::string& user, const std::string& password) const;
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  static std::string program();
  static std::string find_program();
  void write_config(const std::string& more) const;

  std::filesystem::path folder_;
  int port_, tls_port_;
  pid_t process_ = -1;
};

}  // namespace tome::testing
