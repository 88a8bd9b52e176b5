#include "checkpoint/labels.h"

#include <algorithm>
#include <charconv>

#include "checkpoint/json_text.h"
#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

using Json = nlohmann::json;

void check_count(const std::string& source, size_t found, int64_t classes) {
  if (static_cast<int64_t>(found) == classes) return;
  throw Error(ErrorKind::kFormat, source + ": " + std::to_string(found) + " labels, expected " +
                                      std::to_string(classes) +
                                      ", one for each class of the model");
}

std::string class_name(int64_t index) { return "class " + std::to_string(index); }

constexpr const char* kLabelText = "a string without control characters";

// One label of config.json, `name` in `config`.
std::string label_of(const Json& value, const ConfigObject& config, const std::string& name,
                     int64_t index) {
  if (!value.is_string()) config.wrong(name, value, kLabelText);
  auto label = value.get<std::string>();
  if (!is_one_line(label)) config.wrong(name, value, kLabelText);
  return label.empty() ? class_name(index) : label;
}

std::vector<std::string> labels_of_list(const ConfigObject& config, const char* key,
                                        int64_t classes) {
  const Json* list = config.find(key);
  if (!list->is_array()) config.wrong(key, "a list of strings");
  check_count(config.what() + ": " + key, list->size(), classes);
  std::vector<std::string> labels;
  for (const Json& label : *list) {
    const auto index = static_cast<int64_t>(labels.size());
    std::string name = key;
    name.append("[").append(std::to_string(index)).append("]");
    labels.push_back(label_of(label, config, name, index));
  }
  return labels;
}

// Every key is a class, as Python writes the number.
void check_classes(const ConfigObject& map, int64_t classes) {
  for (const auto& [key, label] : map.json().items()) {
    int64_t index = -1;
    std::from_chars(key.data(), key.data() + key.size(), index);
    if (index >= 0 && index < classes && key == std::to_string(index)) continue;
    throw Error(ErrorKind::kFormat, map.what() + ": found \"" + excerpt(key) +
                                        "\", expected classes from 0 to " +
                                        std::to_string(classes - 1));
  }
}

// {"0": "cat", "1": "dog", …}: every index once; of a map with gaps, at most once.
std::vector<std::string> labels_of_map(const ConfigObject& config, const char* key, int64_t classes,
                                       bool may_have_gaps) {
  const ConfigObject map = *config.object(key);
  if (may_have_gaps) {
    check_classes(map, classes);
  } else {
    check_count(map.what(), map.json().size(), classes);
  }
  std::vector<std::string> labels;
  for (int64_t i = 0; i < classes; ++i) {
    const std::string index = std::to_string(i);
    const Json* label = map.find(index.c_str());
    if (label == nullptr && !may_have_gaps) map.wrong(index, kLabelText);
    if (label == nullptr) {
      labels.push_back(class_name(i));
    } else {
      labels.push_back(label->is_number() ? label->dump() : label_of(*label, map, index, i));
    }
  }
  return labels;
}

// timm's: a list, or a map "if there are id gaps", as it says.
std::vector<std::string> timm_labels(const ConfigObject& config, const char* key, int64_t classes) {
  if (config.find(key)->is_object()) return labels_of_map(config, key, classes, true);
  return labels_of_list(config, key, classes);
}

std::string_view without_mark_and_end(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// Calls with each line and its number, from 1 on.
template <class Function>
void for_each_line(std::string_view text, Function&& f) {
  size_t number = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    f(line, ++number);
    begin = end + 1;
  }
}

}  // namespace

std::vector<std::string> read_labels_file(const std::filesystem::path& path, int64_t classes) {
  const auto bad_line = [&](size_t number, const char* what) {
    throw Error(ErrorKind::kFormat, path.string() + ": line " + std::to_string(number) + what +
                                        ", expected one label a line");
  };
  const std::string whole = read_text_file(path);
  const std::string_view text = without_mark_and_end(whole);
  if (text.empty()) {
    throw Error(ErrorKind::kFormat, path.string() + ": empty, expected one label a line");
  }
  size_t count = 0;
  for_each_line(text, [&](std::string_view line, size_t number) {
    if (!is_one_line(line)) bad_line(number, " is not UTF-8 text or has control characters");
    count = number;
  });
  check_count(path.string(), count, classes);
  std::vector<std::string> labels;
  labels.reserve(count);
  for_each_line(text, [&](std::string_view line, size_t number) {
    if (line.empty()) bad_line(number, " is empty");
    labels.emplace_back(line);
  });
  return labels;
}

std::vector<std::string> read_labels(const std::filesystem::path& folder,
                                     const ConfigObject& config,
                                     const std::optional<std::filesystem::path>& labels_file,
                                     int64_t classes) {
  if (labels_file) return read_labels_file(*labels_file, classes);
  if (config.has("id2label")) return labels_of_map(config, "id2label", classes, false);
  if (config.has("label_names")) return timm_labels(config, "label_names", classes);
  const auto pretrained = config.object("pretrained_cfg");
  if (pretrained && pretrained->has("label_names")) {
    return timm_labels(*pretrained, "label_names", classes);
  }
  if (config.has("labels")) return timm_labels(config, "labels", classes);  // its deprecated name
  const std::filesystem::path file = folder / "labels.txt";
  if (std::error_code ignored; std::filesystem::exists(file, ignored)) {
    return read_labels_file(file, classes);
  }
  std::vector<std::string> labels;
  for (int64_t i = 0; i < classes; ++i) labels.push_back(class_name(i));
  return labels;
}

}  // namespace tome
