#include "dataset.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <system_error>

#include "error_line.h"
#include "excerpt.h"
#include "folder_entries.h"
#include "labels_file.h"
#include "tome_error.h"

namespace tome::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostClasses = 1 << 16;  // that numbers alone may stand for

std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> out = visible_entries(folder);
  std::erase_if(out, [](const fs::path& entry) {
    std::error_code broken;  // a link to nothing is no folder
    return !fs::is_directory(entry, broken);
  });
  return out;
}

std::string in_quotes(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "'" : ", '") + excerpt(name) + "'";
  }
  return text.empty() ? "none" : text;
}

/// The number in `text`, or -1.
int64_t parse_index(const std::string& text, int64_t below) {
  int64_t index = -1;
  const char* end = text.data() + text.size();
  const bool good = std::from_chars(text.data(), end, index).ptr == end;
  return good && !text.empty() && index < below ? index : -1;
}

}  // namespace

/// From rows to the model's classes.
class Dataset::Classes {
 public:
  Classes(const Dataset& dataset, const std::vector<std::string>& labels)
      : dataset_(dataset), count_(static_cast<int64_t>(labels.size())) {
    for (int64_t i = 0; i < count_; ++i) by_label_[labels[static_cast<size_t>(i)]].push_back(i);
    std::set<std::string> names;
    for (const Row& row : dataset.rows_) names.insert(row.label);
    names.erase("");
    const auto known = [&](const std::string& name) { return of_label(name) >= 0; };
    if (std::all_of(names.begin(), names.end(), known) && !names.empty()) return;
    if (!dataset.by_folder_) {
      by_index_ = dataset.has_indices_;
    } else if (std::none_of(names.begin(), names.end(), known)) {
      take_folders(names);
    }
  }

  int64_t operator()(const Row& row) const {
    if (by_index_) {
      const std::string& text = dataset_.by_folder_ ? row.label : row.class_index;
      const int64_t index = parse_index(text, count_);
      if (index >= 0) return index;
      dataset_.fail(row, "found class_index '" + excerpt(text) + "', expected 0 to " +
                             std::to_string(count_ - 1) + ", the model's classes");
    }
    if (const int64_t found = of_label(row.label); found >= 0) return found;
    if (const auto found = by_label_.find(row.label); found != by_label_.end()) {
      dataset_.fail(row, "found label '" + excerpt(row.label) +
                             "', which the model has twice, as " + "class " +
                             std::to_string(found->second[0]) + " and class " +
                             std::to_string(found->second[1]) + "; expected its class_index");
    }
    dataset_.fail(row, "found label '" + excerpt(row.label) + "', expected one of the model's " +
                           std::to_string(count_) + " labels" +
                           (dataset_.by_folder_ ? " (--labels-file gives it others), its number, "
                                                  "or a folder for each of its classes"
                                                : ""));
  }

 private:
  /// -1: none, or more than one.
  int64_t of_label(const std::string& label) const {
    const auto found = by_label_.find(label);
    return found != by_label_.end() && found->second.size() == 1 ? found->second[0] : -1;
  }

  /// Names that are none of the model's.
  void take_folders(const std::set<std::string>& names) {
    by_index_ = std::all_of(names.begin(), names.end(), [](const std::string& name) {
      return parse_index(name, kMostClasses) >= 0;
    });
    if (by_index_ || static_cast<int64_t>(names.size()) != count_) return;
    by_label_.clear();
    int64_t next = 0;
    for (const std::string& name : names) by_label_[name] = {next++};
    say(dataset_.source_ + ": the folders' names are none of the model's labels; taken as its " +
        std::to_string(count_) + " classes in sorted order");
  }

  const Dataset& dataset_;
  std::map<std::string, std::vector<int64_t>> by_label_;
  int64_t count_;
  bool by_index_ = false;
};

Dataset::Dataset(const fs::path& folder) : folder_(folder) {
  const fs::path table = folder / "labels.csv";
  std::error_code ignored;  // what cannot be asked for is not there
  by_folder_ = !fs::exists(table, ignored) && fs::is_directory(folder, ignored);
  source_ = by_folder_ ? folder.string() : table.string();
  if (by_folder_) {
    read_class_folders();
  } else {
    read_labels_file();
  }
}

void Dataset::read_labels_file() {
  LabelsFile table(source_);
  has_indices_ = table.has("class_index");
  has_splits_ = table.has("split");
  if (!table.has("file") || !(table.has("label") || has_indices_)) {
    throw Error(ErrorKind::kFormat, source_ + ": found the columns '" + excerpt(table.header()) +
                                        "', expected 'file' and one of 'class_index' and 'label'");
  }
  while (table.next()) {
    rows_.push_back({folder_ / table.field("file"), table.field("label"),
                     table.field("class_index"), table.field("split"), table.line()});
  }
}

void Dataset::read_class_folders() {
  const std::vector<fs::path> folders = folders_in(folder_);
  has_splits_ = !folders.empty() && !folders_in(folders.front()).empty();
  if (!has_splits_) read_class_folders_of(folder_, "");
  for (const fs::path& part : folders) {
    if (has_splits_) read_class_folders_of(part, part.filename().string());
  }
  if (rows_.empty()) {
    throw Error(ErrorKind::kFormat,
                source_ + ": found neither labels.csv nor class folders with files in them");
  }
}

void Dataset::read_class_folders_of(const fs::path& parent, const std::string& split) {
  const std::vector<fs::path> folders = folders_in(parent);
  if (!split.empty() && folders.empty() && !visible_entries(parent).empty()) {
    throw Error(ErrorKind::kFormat, parent.string() +
                                        ": found files and no folder, expected a "
                                        "folder for each class, as in the others");
  }
  for (const fs::path& folder : folders) {
    for (const fs::path& file : visible_entries(folder)) {
      std::error_code broken;  // a link to nothing is a file that cannot be read
      if (fs::is_directory(file, broken)) {
        throw Error(ErrorKind::kFormat,
                    file.string() + ": found a folder, expected a picture or video of the class '" +
                        excerpt(folder.filename().string()) +
                        "', or nothing but splits with class folders in them");
      }
      rows_.push_back({file, folder.filename().string(), "", split, 0});
    }
  }
}

std::set<std::string> Dataset::splits() const {
  std::set<std::string> names;
  for (const Row& row : rows_) names.insert(row.split);
  names.erase("");
  return names;
}

std::optional<std::string> Dataset::held_out_split() const {
  for (const char* name : {"val", "valid", "validation", "test"}) {
    const auto is_of = [&](const Row& row) {
      return row.split == name && !(row.label.empty() && row.class_index.empty());
    };
    if (std::any_of(rows_.begin(), rows_.end(), is_of)) return name;
  }
  return std::nullopt;
}

std::string Dataset::measured_split() const {
  if (const auto held_out = held_out_split()) return *held_out;
  const std::set<std::string> names = splits();
  if (names.empty()) return "";
  throw Error(ErrorKind::kSettings,
              source_ + ": found the split" + (names.size() > 1 ? "s " : " ") + in_quotes(names) +
                  ", expected samples of val, valid, validation or test; --split names another, "
                  "--split '' takes all");
}

std::vector<std::string> Dataset::label_names() const {
  std::set<std::string> names;
  int64_t numbers = 0;
  const auto has_label = [](const Row& row) { return !row.label.empty(); };
  const bool by_label = std::any_of(rows_.begin(), rows_.end(), has_label);
  for (const Row& row : rows_) {
    // A split may have no labels; samples() refuses that in one that is asked for.
    if ((by_label ? row.label : row.class_index).empty()) continue;
    if (!by_label) {
      const int64_t index = parse_index(row.class_index, kMostClasses);
      if (index < 0) {
        fail(row, "found class_index '" + excerpt(row.class_index) + "', expected 0 to " +
                      std::to_string(kMostClasses - 1));
      }
      numbers = std::max(numbers, index + 1);
      continue;
    }
    if (!is_one_line(row.label)) {
      fail(row, "found a label that is not UTF-8, or has control characters");
    }
    names.insert(row.label);
  }
  std::vector<std::string> out(names.begin(), names.end());
  for (int64_t i = 0; i < numbers; ++i) out.push_back("class " + std::to_string(i));
  if (out.empty()) throw Error(ErrorKind::kFormat, source_ + ": found no row with a label");
  return out;
}

std::vector<Sample> Dataset::samples(const std::vector<std::string>& labels,
                                     const std::string& split, int64_t limit) const {
  if (!split.empty() && !has_splits_) {
    throw Error(ErrorKind::kFormat,
                source_ + ": found no " +
                    (by_folder_ ? "folders of class folders" : "column 'split'") +
                    ", expected one to look for split '" + split + "' in");
  }
  const Classes class_of(*this, labels);
  std::vector<Sample> samples;
  for (const Row& row : rows_) {
    if (split.empty() || row.split == split) samples.push_back({row.file, class_of(row), row.line});
  }
  if (samples.empty()) fail_empty(split);
  const auto total = static_cast<int64_t>(samples.size());
  if (limit <= 0 || limit >= total) return samples;
  std::vector<Sample> chosen;
  for (int64_t i = 0; i < limit; ++i) chosen.push_back(samples[i * total / limit]);
  return chosen;
}

void Dataset::fail_empty(const std::string& split) const {
  std::string what = source_ + ": found no sample";
  if (!split.empty()) what += " of split '" + split + "', but of " + in_quotes(splits());
  throw Error(ErrorKind::kFormat, what);
}

void Dataset::fail(const Row& row, const std::string& what) const {
  const std::string place = row.line > 0 ? source_ + " line " + std::to_string(row.line)
                                         : row.file.parent_path().string();
  throw Error(ErrorKind::kFormat, place + ": " + what);
}

}  // namespace tome::cli
