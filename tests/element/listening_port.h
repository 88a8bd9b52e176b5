// A port for a stand-in of a broker.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace tome::testing {

/// A port of this machine's own, on which somebody listens.
class ListeningPort {
 public:
  explicit ListeningPort(int waiting) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* any = reinterpret_cast<sockaddr*>(&address_);
    socklen_t size = sizeof address_;
    bind(socket_, any, size);
    listen(socket_, waiting);
    getsockname(socket_, any, &size);
  }
  ~ListeningPort() { close(socket_); }
  ListeningPort(const ListeningPort&) = delete;
  ListeningPort& operator=(const ListeningPort&) = delete;

  int socket_number() const { return socket_; }
  const sockaddr_in& where() const { return address_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(ntohs(address_.sin_port)); }

 private:
  sockaddr_in address_{};
  int socket_;
};

}  // namespace tome::testing
