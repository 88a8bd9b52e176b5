#include "dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "media_reader.h"
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

/// The class of a row, by number or by name.
class ClassReader {
 public:
  ClassReader(const LabelsFile& file, const std::vector<std::string>& labels, ClassColumn prefer)
      : classes_(static_cast<int64_t>(labels.size())),
        by_index_(file.has("class_index") &&
                  (prefer == ClassColumn::kIndex || !file.has("label"))) {
    for (size_t i = 0; i < labels.size(); ++i) by_label_.emplace(labels[i], i);
  }

  int64_t operator()(const LabelsFile& row) const {
    if (by_index_) return by_index(row);
    const std::string& label = row.field("label");
    const auto found = by_label_.find(label);
    if (found == by_label_.end()) {
      row.fail("found label '" + label + "', expected one of the model's labels");
    }
    return found->second;
  }

 private:
  int64_t by_index(const LabelsFile& row) const {
    const std::string& text = row.field("class_index");
    int64_t index = -1;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data(), end, index).ptr != end || index < 0 || index >= classes_) {
      row.fail("found class_index '" + text + "', expected 0 to " + std::to_string(classes_ - 1) +
               ", the model's classes");
    }
    return index;
  }

  std::map<std::string, int64_t> by_label_;
  int64_t classes_;
  bool by_index_;
};

/// Pre-processes the windows of one sample into `rows`, window after window.
void load_sample(const Sample& sample, const Checkpoint& checkpoint, const SamplePlan& plan,
                 int64_t row_size, float* rows) {
  const auto patch = static_cast<int32_t>(checkpoint.config.patch);
  const int64_t slots = plan.windows * plan.frames;
  const auto copy_slot = [&](int64_t from, int64_t to) {
    std::memcpy(rows + to * row_size, rows + from * row_size, row_size * sizeof(float));
  };
  if (is_picture(sample.file)) {
    preprocess_to_patches(read_picture(sample.file), checkpoint.preprocess, patch, rows);
    for (int64_t slot = 1; slot < slots; ++slot) copy_slot(0, slot);
    return;
  }
  const auto windows =
      window_indices(count_frames(sample.file), plan.windows, plan.frames, plan.stride);
  std::multimap<int64_t, int64_t> slots_of;  // frame -> slots that show it
  for (int64_t slot = 0; slot < slots; ++slot) {
    slots_of.emplace(windows[slot / plan.frames][slot % plan.frames], slot);
  }
  const int64_t last = slots_of.rbegin()->first;
  int64_t filled = 0;
  for_each_frame(sample.file, [&](const Frame& frame, int64_t index, double) {
    const auto [begin, end] = slots_of.equal_range(index);
    for (auto it = begin; it != end; ++it, ++filled) {
      if (it == begin) {
        preprocess_to_patches(frame, checkpoint.preprocess, patch, rows + it->second * row_size);
      } else {
        copy_slot(begin->second, it->second);
      }
    }
    return index < last;
  });
  if (filled != slots) {
    throw Error(ErrorKind::kRead, sample.file.string() + ": the file changed while it was read");
  }
}

/// The exception that is being handled, with the row of labels.csv that named the file.
std::exception_ptr with_row(int64_t line) {
  try {
    throw;
  } catch (const Error& error) {
    if (line == 0) return std::current_exception();
    return std::make_exception_ptr(
        Error(error.kind(),
              std::string(error.what()) + " (labels.csv line " + std::to_string(line) + ")"));
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

LabelsFile::LabelsFile(const std::filesystem::path& folder)
    : path_(folder / "labels.csv"), in_(path_) {
  if (!in_) {
    throw Error(ErrorKind::kNotFound, path_.string() +
                                          ": not found or unreadable; --data needs a "
                                          "folder with labels.csv");
  }
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
    if (fields_.size() < column_count_) {
      fail("found " + std::to_string(fields_.size()) + " fields, expected " +
           std::to_string(column_count_));
    }
    return true;
  }
  return false;
}

const std::string& LabelsFile::field(const std::string& column) const {
  return fields_[columns_.at(column)];
}

void LabelsFile::fail(const std::string& what) const {
  throw Error(ErrorKind::kFormat, path_.string() + " line " + std::to_string(line_) + ": " + what);
}

std::vector<Sample> read_dataset(const std::filesystem::path& folder,
                                 const std::vector<std::string>& labels, const std::string& split,
                                 int64_t limit, ClassColumn prefer) {
  LabelsFile rows(folder);
  if (!rows.has("file") || !(rows.has("class_index") || rows.has("label"))) {
    throw Error(ErrorKind::kFormat, rows.path().string() + ": found the columns '" + rows.header() +
                                        "', expected 'file' and one of 'class_index' and 'label'");
  }
  if (!split.empty() && !rows.has("split")) {
    rows.fail("found no column 'split', expected one to look for split '" + split + "' in");
  }
  const ClassReader class_of(rows, labels, prefer);
  std::vector<Sample> samples;
  while (rows.next()) {
    if (!split.empty() && rows.field("split") != split) continue;
    samples.push_back({folder / rows.field("file"), class_of(rows), rows.line()});
  }
  if (samples.empty()) {
    throw Error(ErrorKind::kFormat, rows.path().string() + ": found no sample" +
                                        (split.empty() ? "" : " of split '" + split + "'"));
  }
  const auto total = static_cast<int64_t>(samples.size());
  if (limit <= 0 || limit >= total) return samples;
  std::vector<Sample> chosen;
  for (int64_t i = 0; i < limit; ++i) chosen.push_back(samples[i * total / limit]);
  return chosen;
}

bool is_picture(const Sample& sample) {
  try {
    return is_picture(sample.file);
  } catch (...) {
    std::rethrow_exception(with_row(sample.line));
  }
}

at::Tensor load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads) {
  const ViTConfig& config = checkpoint.config;
  const int64_t n = config.grid_rows() * config.grid_cols();
  const int64_t width = config.channels * config.patch * config.patch;
  const auto count = static_cast<int64_t>(samples.size());
  at::Tensor rows = at::empty({count * plan.windows, plan.frames, n, width}, at::kFloat);
  float* data = rows.mutable_data_ptr<float>();
  const int64_t sample_size = plan.windows * plan.frames * n * width;

  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      try {
        load_sample(samples[i], checkpoint, plan, n * width, data + i * sample_size);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = with_row(samples[i].line);
        next = count;
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    for (int t = 1; t < std::min<int64_t>(threads, count); ++t) workers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return rows;
}

}  // namespace tome::cli
