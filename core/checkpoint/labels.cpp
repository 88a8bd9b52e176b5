#include "checkpoint/labels.h"

#include "checkpoint/json_text.h"
#include "error.h"

namespace tome {
namespace {

using Json = nlohmann::json;

void check_count(const std::string& source, size_t found, int64_t classes) {
  if (static_cast<int64_t>(found) == classes) return;
  throw Error(ErrorKind::kFormat, source + ": " + std::to_string(found) + " labels, expected " +
                                      std::to_string(classes) +
                                      ", one for each class of the model");
}

std::vector<std::string> labels_of_list(const ConfigObject& config, const char* key) {
  std::vector<std::string> labels;
  const Json* list = config.find(key);
  if (!list->is_array()) config.wrong(key, "a list of strings");
  for (const Json& label : *list) {
    if (!label.is_string()) config.wrong(key, "a list of strings");
    labels.push_back(label.get<std::string>());
  }
  return labels;
}

// {"0": "cat", "1": "dog", …}: every index from 0 on, once.
std::vector<std::string> labels_of_map(const ConfigObject& config, int64_t classes) {
  const ConfigObject map = *config.object("id2label");
  check_count(map.what(), map.json().size(), classes);
  std::vector<std::string> labels;
  for (int64_t i = 0; i < classes; ++i) {
    const std::string key = std::to_string(i);
    const Json* label = map.find(key.c_str());
    if (label == nullptr || !label->is_string()) map.wrong(key, "a string");
    labels.push_back(label->get<std::string>());
  }
  return labels;
}

}  // namespace

bool is_utf8(const std::string& text) {
  if (text.find('\0') != std::string::npos) return false;
  try {
    static_cast<void>(Json(text).dump());
  } catch (const Json::exception&) {
    return false;
  }
  return true;
}

std::vector<std::string> read_labels_file(const std::filesystem::path& path) {
  std::string text = read_text_file(path);
  if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) text.erase(0, 3);
  if (!is_utf8(text)) {
    throw Error(ErrorKind::kFormat, path.string() + ": not UTF-8 text, expected one label a line");
  }
  std::vector<std::string> labels;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    labels.push_back(std::move(line));
    begin = end + 1;
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  if (labels.empty()) {
    throw Error(ErrorKind::kFormat, path.string() + ": empty, expected one label a line");
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].empty()) {
      throw Error(ErrorKind::kFormat, path.string() + ": line " + std::to_string(i + 1) +
                                          " is empty, expected one label a line");
    }
  }
  return labels;
}

std::vector<std::string> read_labels(const std::filesystem::path& folder,
                                     const ConfigObject& config,
                                     const std::optional<std::filesystem::path>& labels_file,
                                     int64_t classes) {
  std::vector<std::string> labels;
  if (labels_file) {
    labels = read_labels_file(*labels_file);
    check_count(labels_file->string(), labels.size(), classes);
    return labels;
  }
  if (config.has("id2label")) return labels_of_map(config, classes);
  const auto pretrained = config.object("pretrained_cfg");
  const std::filesystem::path file = folder / "labels.txt";
  if (config.has("label_names")) {
    labels = labels_of_list(config, "label_names");
    check_count(config.what() + ": label_names", labels.size(), classes);
  } else if (pretrained && pretrained->has("label_names")) {
    labels = labels_of_list(*pretrained, "label_names");
    check_count(pretrained->what() + ": label_names", labels.size(), classes);
  } else if (std::error_code ignored; std::filesystem::exists(file, ignored)) {
    labels = read_labels_file(file);
    check_count(file.string(), labels.size(), classes);
  } else {
    for (int64_t i = 0; i < classes; ++i) labels.push_back("class " + std::to_string(i));
  }
  return labels;
}

}  // namespace tome
