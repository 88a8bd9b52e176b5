// labels.csv, row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace tome::cli {

/// A labels.csv. Its header names the columns; fields may be quoted, and blank lines and a
/// byte-order mark are skipped.
class LabelsFile {
 public:
  /// @throws Error naming the file: unreadable, a column of ours that occurs twice
  explicit LabelsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::string& header() const { return header_; }
  bool has(const std::string& column) const { return columns_.contains(column); }
  /// Goes on to the next row; false at the end.
  /// @throws Error naming file and line of a row with more or fewer fields than there are columns
  bool next();
  /// Of the current row; "" where there is no such column.
  std::string field(const std::string& column) const;
  /// Throws an Error that names the file and the current line.
  [[noreturn]] void fail(const std::string& what) const;
  /// Number of the current row in the file.
  int64_t line() const { return line_; }

 private:
  std::filesystem::path path_;
  std::ifstream in_;
  std::string header_;
  std::map<std::string, size_t> columns_;
  size_t column_count_ = 0;
  std::vector<std::string> fields_;
  int64_t line_ = 1;
};

}  // namespace tome::cli
