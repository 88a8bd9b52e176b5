// What the settings of brokers mean, and what is wrong with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "publish_settings.h"

namespace tome::gst {

struct BrokerAddress {
  std::string host;
  uint16_t port;
};

// All throw PublishError, with the property's name, what was found and what was expected.

/// Of these words.
[[noreturn]] void refuse_settings(const std::string& text);

/// `host`, `host:port` or `[IPv6]:port`.
BrokerAddress parse_address(const std::string& text, uint16_t default_port);
/// Several of them, by commas; at least one.
std::vector<BrokerAddress> parse_addresses(const std::string& text, uint16_t default_port);

/// `key=value,key=value`. What has no `=` belongs to the value before: `debug=broker,topic`.
std::vector<std::pair<std::string, std::string>> parse_config(const std::string& text);

/// A text of more bytes than the broker's protocol can say. The error tells how many, not the text.
void expect_at_most(size_t most_bytes, const char* property, const std::string& text);

/// What property `password-file` names: the first line of the file; "" if it names none.
class PasswordFile {
 public:
  explicit PasswordFile(std::string path = "");

  const std::string& password() const { return password_; }
  /// Reads the file again, for secrets are replaced in place. What cannot be read now, or is none
  /// to be read twice, as a pipe, leaves the password as it was. So does a line that no newline
  /// ends until it is read twice in a row: it may be half written. @return whether it is another
  bool refresh();

 private:
  std::string path_, password_;
  std::string unsure_;  // read last, if it may be half written
};

/// Whether a file's method has a broker's settings, and so on: what would be ignored is a mistake.
void check_method(const PublishSettings& settings);

}  // namespace tome::gst
