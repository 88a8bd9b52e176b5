#include "checkpoint/json_text.h"

#include <fstream>
#include <set>
#include <vector>

#include "error.h"

namespace tome {
namespace {

constexpr int kMaxDepth = 64;

using Json = nlohmann::json;

}  // namespace

Json parse_json(std::string_view text, const std::string& what) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth) {
      throw Error(ErrorKind::kFormat,
                  what + ": JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key &&
               !keys.back().insert(value.get<std::string>()).second) {
      throw Error(ErrorKind::kFormat, what + ": key \"" + value.get<std::string>() +
                                          "\" occurs twice in one JSON object");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& error) {
    throw Error(ErrorKind::kFormat, what + ": not valid JSON: " + error.what());
  }
}

std::string read_text_file(const std::filesystem::path& path, size_t limit) {
  std::error_code ec;
  const auto status = std::filesystem::status(path, ec);
  if (!std::filesystem::exists(status)) {
    throw Error(ErrorKind::kNotFound, path.string() + ": no such file");
  }
  if (!std::filesystem::is_regular_file(status)) {
    throw Error(ErrorKind::kRead, path.string() + ": not a regular file");
  }
  const auto size = std::filesystem::file_size(path, ec);
  std::ifstream in(path, std::ios::binary);
  if (ec || !in) throw Error(ErrorKind::kRead, path.string() + ": cannot be read");
  if (size > limit) {
    throw Error(ErrorKind::kFormat, path.string() + ": " + std::to_string(size) +
                                        " bytes, expected at most " + std::to_string(limit));
  }
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  if (in.gcount() != static_cast<std::streamsize>(size)) {
    throw Error(ErrorKind::kRead, path.string() + ": only " + std::to_string(in.gcount()) + " of " +
                                      std::to_string(size) + " bytes could be read");
  }
  return text;
}

Json read_json_file(const std::filesystem::path& path) {
  Json json = parse_json(read_text_file(path), path.string());
  if (!json.is_object()) {
    throw Error(ErrorKind::kFormat,
                path.string() + ": a JSON " + json.type_name() + ", expected an object");
  }
  return json;
}

}  // namespace tome
