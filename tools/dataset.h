// A folder of pictures or videos with labels.csv, and its way into patch rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace tome::cli {

/// `folder`/labels.csv row by row. Its header names the columns; fields may be quoted, and blank
/// lines and a byte-order mark are skipped.
class LabelsFile {
 public:
  /// @throws Error naming the file: not there, no header, a column of ours that occurs twice
  explicit LabelsFile(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return path_; }
  const std::string& header() const { return header_; }
  bool has(const std::string& column) const { return columns_.contains(column); }
  /// Goes on to the next row; false at the end.
  /// @throws Error naming file and line of a row with fewer fields than there are columns
  bool next();
  /// Of the current row; the column must be there.
  const std::string& field(const std::string& column) const;
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

struct Sample {
  std::filesystem::path file;
  int64_t class_index = 0;
  int64_t line = 0;  ///< of labels.csv; 0: unknown
};

/// True if it is a picture that OpenCV reads.
/// @throws Error naming the file and its row in labels.csv
bool is_picture(const Sample& sample);

/// Which column says the class, where labels.csv has both.
enum class ClassColumn {
  kIndex,  ///< `class_index`: what `labels` are is the model's affair
  kLabel,  ///< `label`: `labels` were made of that column
};

/// Reads `folder`/labels.csv. Its columns are `file` and either `class_index` or `label` (then a
/// name of `labels`); rows whose `split` is another than the one asked for are left out.
///
/// @param split  "" takes every row
/// @param limit  at most this many samples, evenly spread over the rows; 0: all
/// @throws Error naming file and line: a missing column, a label the model does not have, a class
///   out of range, no sample at all
std::vector<Sample> read_dataset(const std::filesystem::path& folder,
                                 const std::vector<std::string>& labels, const std::string& split,
                                 int64_t limit, ClassColumn prefer = ClassColumn::kIndex);

/// How a sample becomes requests.
struct SamplePlan {
  int64_t frames = 1;   ///< frames of one request
  int64_t windows = 1;  ///< requests of one video, evenly spread; a picture is always one
  int64_t stride = 1;   ///< frames between two frames of a window; 0: spread over the video
};

/// Decodes and pre-processes `samples`, several at a time. Stops at one that cannot be read: what
/// is measured on the others would be another number.
/// @throws Error naming the file and its row in labels.csv
/// @return float32 [samples * plan.windows, plan.frames, n, 3 * p * p], patch rows
at::Tensor load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads);

}  // namespace tome::cli
