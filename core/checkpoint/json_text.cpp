#include "checkpoint/json_text.h"

#include <fstream>
#include <set>
#include <vector>

#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

constexpr size_t kMaxDepth = 64;
/// The header of the largest model has some 10,000; a value takes a hundred bytes once parsed.
constexpr size_t kMaxValues = 1'000'000;
/// Keys are names, which messages repeat.
constexpr size_t kMaxKey = 1000;

using Json = nlohmann::json;

/// Reads a text without building anything, so that what it would take is known before.
class LimitCheck : public nlohmann::json_sax<Json> {
 public:
  explicit LimitCheck(const std::string& what) : what_(what) {}

  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(Json::number_integer_t) override { return count(); }
  bool number_unsigned(Json::number_unsigned_t) override { return count(); }
  bool number_float(Json::number_float_t, const std::string&) override { return count(); }
  bool string(std::string&) override { return count(); }
  bool binary(Json::binary_t&) override { return count(); }
  bool start_object(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (name.size() > kMaxKey) refuse("a key of " + std::to_string(name.size()) + " bytes");
    if (keys_.back().insert(name).second) return true;
    refuse("key \"" + excerpt(name) + "\" occurs twice in one JSON object");
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // It ends with the last token, which may be the whole file.
    refuse("not valid JSON: " + excerpt(error.what(), 200));
  }

 private:
  [[noreturn]] void refuse(const std::string& text) const {
    throw Error(ErrorKind::kFormat, what_ + ": " + text);
  }
  bool count() {
    if (++values_ > kMaxValues)
      refuse("JSON of more than " + std::to_string(kMaxValues) + " values");
    return true;
  }
  bool open() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return count();
    refuse("JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& what_;
  size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of each object, or list, that is open
};

}  // namespace

Json parse_json(std::string_view text, const std::string& what) {
  LimitCheck check(what);
  Json::sax_parse(text.begin(), text.end(), &check);  // refuses what is no JSON, too
  return Json::parse(text.begin(), text.end());
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
