// Typed, range-checked access to a JSON object of a model folder.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace tome {

/// A JSON object and the words that name it in messages ("…/config.json: model_args"). A key whose
/// value is null counts as absent, as it does for Hugging Face. Every getter throws Error kFormat
/// that names the key, what was found and what was expected.
class ConfigObject {
 public:
  using Json = nlohmann::json;

  /// `json` must outlive the object.
  ConfigObject(const Json& json, std::string what);
  /// One without keys, for what a folder leaves out.
  static ConfigObject empty(std::string what);

  const std::string& what() const { return what_; }
  const Json& json() const { return *json_; }
  bool has(const char* key) const { return find(key) != nullptr; }
  const Json* find(const char* key) const;  ///< nullptr where absent or null
  /// The object under `key`, if there is one.
  std::optional<ConfigObject> object(const char* key) const;

  int64_t integer(const char* key, std::optional<int64_t> fallback, int64_t least,
                  int64_t most) const;
  double number(const char* key, std::optional<double> fallback, double least, double most) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  /// Text that results and messages show: see is_one_line.
  std::string line(const char* key, const std::string& fallback) const;
  /// One integer for both, or a list [height, width].
  std::pair<int64_t, int64_t> height_width(const char* key, std::pair<int64_t, int64_t> fallback,
                                           int64_t most) const;
  /// One number for all channels or a list of three.
  std::array<float, 3> channels(const char* key, const std::array<float, 3>& fallback) const;

  /// `value` as an integer, if it is one that fits; 3072.0 is.
  static std::optional<int64_t> integer_of(const Json& value);

  /// Throws: `key` is the value it has here or "missing", expected `expected`.
  [[noreturn]] void wrong(const std::string& key, const std::string& expected) const;
  /// The same for a value inside another; `name` says where, as "label_names[3]" does.
  [[noreturn]] void wrong(const std::string& name, const Json& found,
                          const std::string& expected) const;

 private:
  const Json* json_;
  std::string what_;
};

}  // namespace tome
