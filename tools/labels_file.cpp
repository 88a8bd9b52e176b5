#include "labels_file.h"

#include "tome_error.h"

namespace tome::cli {
namespace {

/// Fields of one line of CSV (RFC 4180, without line breaks inside quotes).
std::vector<std::string> parse_csv_line(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

}  // namespace

LabelsFile::LabelsFile(const std::filesystem::path& path) : path_(path), in_(path) {
  if (!in_) throw Error(ErrorKind::kNotFound, path_.string() + ": not found or unreadable");
  std::getline(in_, header_);
  if (header_.starts_with("\xEF\xBB\xBF")) header_.erase(0, 3);  // spreadsheets write a mark first
  if (header_.ends_with('\r')) header_.pop_back();
  const std::vector<std::string> names = parse_csv_line(header_);
  column_count_ = names.size();
  for (size_t i = 0; i < names.size(); ++i) {
    const bool first = columns_.emplace(names[i], i).second;
    const bool ours = names[i] == "file" || names[i] == "class_index" || names[i] == "label" ||
                      names[i] == "split";
    if (!first && ours) fail("found the column '" + names[i] + "' twice, expected it once");
  }
}

bool LabelsFile::next() {
  std::string line;
  while (std::getline(in_, line)) {
    ++line_;
    if (line.empty() || line == "\r") continue;
    fields_ = parse_csv_line(line);
    // Spreadsheets end rows with empty fields that no column has.
    while (fields_.size() > column_count_ && fields_.back().empty()) fields_.pop_back();
    if (fields_.size() != column_count_) {
      fail("found " + std::to_string(fields_.size()) + " fields, expected " +
           std::to_string(column_count_) + " (a name with a comma stands in quotes)");
    }
    return true;
  }
  return false;
}

std::string LabelsFile::field(const std::string& column) const {
  const auto found = columns_.find(column);
  return found == columns_.end() ? "" : fields_[found->second];
}

void LabelsFile::fail(const std::string& what) const {
  throw Error(ErrorKind::kFormat, path_.string() + " line " + std::to_string(line_) + ": " + what);
}

}  // namespace tome::cli
