#include "mosquitto_broker.h"

#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "publish_fixture.h"

namespace tome::testing {
namespace {

namespace fs = std::filesystem;

/// Folder into which setup.sh unpacks mosquitto; may not be there.
fs::path unpacked() { return fs::path(UNPACKED_MOSQUITTO) / "usr"; }

/// The libraries that were unpacked with it are found too.
pid_t spawn(const std::vector<std::string>& command) {
  std::string libraries = "LD_LIBRARY_PATH=";
  if (fs::exists(unpacked() / "lib")) {
    for (const auto& entry : fs::directory_iterator(unpacked() / "lib")) {
      libraries += entry.path().string() + ":";
    }
  }
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::array<char*, 3> environment = {libraries.data(), path.data(), nullptr};
  pid_t process = -1;
  if (posix_spawn(&process, arguments[0], nullptr, nullptr, arguments.data(), environment.data()) !=
      0) {
    throw std::runtime_error("cannot start " + command[0]);
  }
  return process;
}

/// Its exit status; 127 where a library is missing.
int status_of(const std::vector<std::string>& command) {
  int status = -1;
  if (waitpid(spawn(command), &status, 0) < 0 || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

bool succeeds(const std::vector<std::string>& command) { return status_of(command) == 0; }

bool listens(int port) {
  const int caller = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const bool answered = connect(caller, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(caller);
  return answered;
}

fs::path make_folder() {
  std::string pattern = (fs::temp_directory_path() / "tome-mosquitto-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  return pattern;
}

}  // namespace

std::string MosquittoBroker::program() {
  static const std::string found = find_program();
  return found;
}

std::string MosquittoBroker::find_program() {
  for (const auto& path : {fs::path("/usr/sbin/mosquitto"), unpacked() / "sbin/mosquitto"}) {
    if (fs::exists(path) && status_of({path, "-h"}) != 127) return path;
  }
  return "";
}

MosquittoBroker::MosquittoBroker(const std::string& user, const std::string& password)
    : folder_(make_folder()), port_(free_port()), tls_port_(free_port()) {
  std::string more = "allow_anonymous true\n";
  if (!user.empty()) {
    set_password(user, password);
    more = "allow_anonymous false\npassword_file " + (folder_ / "users").string() + "\n";
  }
  write_config(more);
  start();
}

std::unique_ptr<MosquittoBroker> MosquittoBroker::with_tls(bool clients_known) {
  if (!fs::exists("/usr/bin/openssl")) return nullptr;
  auto broker = std::make_unique<MosquittoBroker>();
  broker->stop();
  const fs::path& folder = broker->folder_;
  // Each signs itself; "other" is for a client that trusts, or is, somebody else.
  for (const std::string name : {"ca", "other", "client"}) {
    if (!succeeds({"/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch",
                   "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days",
                   "2", "-out", folder / (name + ".pem"), "-keyout", folder / (name + ".key")})) {
      throw std::runtime_error("openssl failed");
    }
  }
  broker->write_config(
      "allow_anonymous true\nlistener " + std::to_string(broker->tls_port_) +
      " 127.0.0.1\ncertfile " + (folder / "ca.pem").string() + "\nkeyfile " +
      (folder / "ca.key").string() + "\n" +
      (clients_known ? "require_certificate true\ncafile " + (folder / "client.pem").string() + "\n"
                     : ""));
  broker->start();
  return broker;
}

MosquittoBroker::~MosquittoBroker() {
  stop();
  fs::remove_all(folder_);
}

void MosquittoBroker::set_password(const std::string& user, const std::string& password) const {
  const std::string users = folder_ / "users";
  std::ofstream(users) << user << ":" << password << "\n";
  const auto tool = fs::path(program()).parent_path().parent_path() / "bin/mosquitto_passwd";
  if (!succeeds({tool, "-U", users})) throw std::runtime_error("mosquitto_passwd failed");
}

void MosquittoBroker::write_config(const std::string& more) const {
  std::ofstream config(folder_ / "conf");
  // As root it would become somebody who cannot read this folder.
  if (geteuid() == 0) config << "user root\n";
  config << "persistence true\npersistence_location " << folder_.string() << "/\n"
         << "max_queued_messages 0\nlog_dest file " << (folder_ / "log").string() << "\nlistener "
         << port_ << " 127.0.0.1\n"
         << more;
}

void MosquittoBroker::start() {
  process_ = spawn({program(), "-c", folder_ / "conf"});
  if (!comes([this] { return listens(port_); })) throw std::runtime_error("mosquitto is silent");
}

void MosquittoBroker::stop() {
  if (process_ < 0) return;
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

}  // namespace tome::testing
