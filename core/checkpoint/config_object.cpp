#include "checkpoint/config_object.h"

#include <cmath>

#include "excerpt.h"
#include "never_destroyed.h"
#include "tome_error.h"

namespace tome {
namespace {

struct NoKeys {
  ConfigObject::Json json = ConfigObject::Json::object();
};

}  // namespace

ConfigObject::ConfigObject(const Json& json, std::string what)
    : json_(&json), what_(std::move(what)) {
  if (!json.is_object()) {
    throw Error(ErrorKind::kFormat,
                what_ + ": a JSON " + json.type_name() + ", expected an object");
  }
}

ConfigObject ConfigObject::empty(std::string what) {
  return {never_destroyed<NoKeys>().json, std::move(what)};
}

const ConfigObject::Json* ConfigObject::find(const char* key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<ConfigObject> ConfigObject::object(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return ConfigObject(*value, what_ + ": " + key);
}

void ConfigObject::wrong(const std::string& key, const std::string& expected) const {
  const auto found = json_->find(key);
  if (found != json_->end()) wrong(key, *found, expected);
  throw Error(ErrorKind::kFormat,
              what_ + ": " + excerpt(key) + " is missing, expected " + expected);
}

void ConfigObject::wrong(const std::string& name, const Json& found,
                         const std::string& expected) const {
  throw Error(ErrorKind::kFormat, what_ + ": " + excerpt(name) + " is " + excerpt(found.dump()) +
                                      ", expected " + expected);
}

std::optional<int64_t> ConfigObject::integer_of(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > uint64_t{INT64_MAX}) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  // Python writes a computed size as 3072.0 now and then.
  if (value.is_number_float()) {
    const auto number = value.get<double>();
    if (number == std::floor(number) && std::abs(number) < 1e15) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

int64_t ConfigObject::integer(const char* key, std::optional<int64_t> fallback, int64_t least,
                              int64_t most) const {
  const Json* value = find(key);
  const auto number = value == nullptr ? fallback : integer_of(*value);
  if (!number || *number < least || *number > most) {
    wrong(key, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return *number;
}

double ConfigObject::number(const char* key, std::optional<double> fallback, double least,
                            double most) const {
  const Json* value = find(key);
  if (value == nullptr && fallback) return *fallback;
  if (value == nullptr || !value->is_number() || !(value->get<double>() >= least) ||
      !(value->get<double>() <= most)) {
    wrong(key, "a number from " + Json(least).dump() + " to " + Json(most).dump());
  }
  return value->get<double>();
}

bool ConfigObject::boolean(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) wrong(key, "true or false");
  return value->get<bool>();
}

std::string ConfigObject::text(const char* key, const std::string& fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) wrong(key, "a string");
  return value->get<std::string>();
}

std::string ConfigObject::line(const char* key, const std::string& fallback) const {
  std::string value = text(key, fallback);
  if (!is_one_line(value)) wrong(key, "text without control characters");
  return value;
}

std::pair<int64_t, int64_t> ConfigObject::height_width(const char* key,
                                                       std::pair<int64_t, int64_t> fallback,
                                                       int64_t most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const auto side = [&](const Json& item) {
    const auto number = integer_of(item);
    if (!number || *number < 1 || *number > most) {
      wrong(key, "an integer or [height, width], each from 1 to " + std::to_string(most));
    }
    return *number;
  };
  if (value->is_array() && value->size() == 2) return {side((*value)[0]), side((*value)[1])};
  return {side(*value), side(*value)};
}

std::array<float, 3> ConfigObject::channels(const char* key,
                                            const std::array<float, 3>& fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const auto one = [&](const Json& item) {
    const double number = item.is_number() ? item.get<double>() : std::nan("");
    if (!(std::abs(number) < 1e6)) wrong(key, "a number or a list of three");
    return static_cast<float>(number);
  };
  if (value->is_array() && value->size() == 3) {
    return {one((*value)[0]), one((*value)[1]), one((*value)[2])};
  }
  return {one(*value), one(*value), one(*value)};
}

}  // namespace tome
