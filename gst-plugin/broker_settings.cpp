#include "broker_settings.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

#include "publish_backend.h"

namespace tome::gst {

void refuse_settings(const std::string& text) {
  throw PublishError(GST_RESOURCE_ERROR_SETTINGS, text);
}

namespace {

[[noreturn]] void refuse_address(const std::string& text) {
  refuse_settings(text.empty() ? "address: found none, expected host or host:port"
                               : "address: found '" + text + "', expected host or host:port");
}

bool is_host(const std::string& text, bool is_ipv6) {
  const auto allowed = [is_ipv6](char c) {
    return g_ascii_isalnum(c) != FALSE || c == '.' || c == '-' || c == '_' ||
           (is_ipv6 && (c == ':' || c == '%'));
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), allowed);
}

void expect_method(const std::string& value, const char* property, bool fits,
                   const char* expected) {
  if (value.empty() || fits) return;
  refuse_settings(std::string(property) + ": found '" + value +
                  "', expected it with method=" + expected + " only");
}

/// What is not as it was made; else empty.
std::string changed(unsigned value, unsigned usual) {
  return value == usual ? "" : std::to_string(value);
}

void expect_together(const char* name, const std::string& value, const char* other_name,
                     const std::string& other) {
  if (value.empty() || !other.empty()) return;
  refuse_settings(std::string(name) + ": found '" + value + "', expected a " + other_name +
                  " with it");
}

void check_certificates(const PublishSettings& settings) {
  expect_together("cert-file", settings.cert_file, "key-file", settings.key_file);
  expect_together("key-file", settings.key_file, "cert-file", settings.cert_file);
  expect_together("cert-file", settings.cert_file, "ca-file", settings.ca_file);
  const std::array<std::pair<const char*, const std::string&>, 3> files = {{
      {"ca-file", settings.ca_file},
      {"cert-file", settings.cert_file},
      {"key-file", settings.key_file},
  }};
  for (const auto& [name, file] : files) {
    if (file.empty() || std::ifstream(file)) continue;
    refuse_settings(std::string(name) + ": found '" + file + "', expected a file that can be read");
  }
}

struct Password {
  std::string text;
  bool ended;  // by a newline
};

Password read_password(const std::string& path) {
  constexpr size_t kMostBytes = 65535;  // MQTT's most; of more the library sends but a part
  errno = 0;
  std::ifstream in(path);
  std::string password;
  if (!std::getline(in, password) && !in.eof()) {
    refuse_settings("password-file: cannot read '" + path +
                    "': " + std::generic_category().message(errno));
  }
  const bool ended = !in.eof();
  if (password.ends_with('\r')) password.pop_back();
  if (password.empty()) {
    refuse_settings("password-file: the first line of '" + path +
                    "' is empty, expected a password");
  }
  if (password.size() > kMostBytes) {
    refuse_settings("password-file: the first line of '" + path + "' has " +
                    std::to_string(password.size()) + " bytes, expected at most " +
                    std::to_string(kMostBytes));
  }
  return {std::move(password), ended};
}

}  // namespace

BrokerAddress parse_address(const std::string& text, uint16_t default_port) {
  const bool is_ipv6 = text.starts_with('[');
  const size_t host_end = is_ipv6 ? text.find(']') : std::min(text.find(':'), text.size());
  if (host_end == std::string::npos) refuse_address(text);
  BrokerAddress address{text.substr(is_ipv6 ? 1 : 0, host_end - (is_ipv6 ? 1 : 0)), default_port};
  const std::string rest = text.substr(host_end + (is_ipv6 ? 1 : 0));
  if (!is_host(address.host, is_ipv6)) refuse_address(text);
  if (rest.empty()) return address;
  const char* end = rest.data() + rest.size();
  const auto number = std::from_chars(rest.data() + 1, end, address.port);
  const bool valid = rest.starts_with(':') && number.ec == std::errc() && number.ptr == end;
  if (!valid || address.port == 0) refuse_address(text);
  return address;
}

std::vector<BrokerAddress> parse_addresses(const std::string& text, uint16_t default_port) {
  std::vector<BrokerAddress> addresses;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    addresses.push_back(parse_address(item, default_port));
  }
  if (addresses.empty() || text.ends_with(',')) refuse_address(text);
  return addresses;
}

std::vector<std::pair<std::string, std::string>> parse_config(const std::string& text) {
  std::vector<std::pair<std::string, std::string>> settings;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    const size_t equals = item.find('=');
    if (equals != std::string::npos && equals > 0) {
      settings.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    } else if (equals == std::string::npos && !settings.empty()) {
      settings.back().second += "," + item;
    } else {
      refuse_settings("config: found '" + item + "', expected key=value");
    }
  }
  return settings;
}

void expect_at_most(size_t most_bytes, const char* property, const std::string& text) {
  if (text.size() <= most_bytes) return;
  refuse_settings(std::string(property) + ": found " + std::to_string(text.size()) +
                  " bytes, expected at most " + std::to_string(most_bytes));
}

PasswordFile::PasswordFile(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) password_ = read_password(path_).text;
}

bool PasswordFile::refresh() {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path_, ignored)) return false;
  try {
    Password found = read_password(path_);
    const std::string before = std::exchange(unsure_, "");
    if (found.text == password_) return false;
    if (!found.ended && found.text != before) {
      unsure_ = std::move(found.text);
      return false;
    }
    password_ = std::move(found.text);
    return true;
  } catch (const PublishError&) {  // it may be about to be written
    unsure_.clear();
    return false;
  }
}

void check_method(const PublishSettings& settings) {
  const bool is_file = settings.method == PublishMethod::kFile;
  const PublishSettings usual;
  expect_method(settings.location, "location", is_file, "file");
  expect_method(settings.append ? "true" : "", "append", is_file, "file");
  expect_method(changed(settings.qos, usual.qos), "mqtt-qos",
                settings.method == PublishMethod::kMqtt, "mqtt");
  expect_method(settings.config, "config", settings.method == PublishMethod::kKafka, "kafka");
  const std::array<std::pair<const char*, std::string>, 10> of_brokers = {{
      {"address", settings.address},
      {"topic", settings.topic},
      {"client-id", settings.client_id},
      {"username", settings.username},
      {"password-file", settings.password_file},
      {"ca-file", settings.ca_file},
      {"cert-file", settings.cert_file},
      {"key-file", settings.key_file},
      {"queue-size", changed(settings.queue_size, usual.queue_size)},
      {"drain-timeout", changed(settings.drain_timeout, usual.drain_timeout)},
  }};
  for (const auto& [name, value] : of_brokers) {
    expect_method(value, name, !is_file, "mqtt or kafka");
  }
  expect_together("password-file", settings.password_file, "username", settings.username);
  check_certificates(settings);
}

}  // namespace tome::gst
