#include "dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "error.h"
#include "media_reader.h"

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

/// Column numbers by name, and messages that name file and line.
class LabelTable {
 public:
  LabelTable(const std::filesystem::path& file, const std::vector<std::string>& labels)
      : file_(file) {
    for (size_t i = 0; i < labels.size(); ++i) by_label_.emplace(labels[i], i);
    classes_ = static_cast<int64_t>(labels.size());
  }

  void read_header(const std::string& line) {
    const auto names = parse_csv_line(line);
    for (size_t i = 0; i < names.size(); ++i) columns_.emplace(names[i], i);
    if (!columns_.contains("file") ||
        !(columns_.contains("class_index") || columns_.contains("label"))) {
      throw Error(ErrorKind::kFormat,
                  file_.string() + ": found the columns '" + line +
                      "', expected 'file' and one of 'class_index' and 'label'");
    }
  }

  /// The sample of a row, or nothing if it is of another split.
  std::optional<Sample> read_row(const std::string& line, int64_t number,
                                 const std::string& split) const {
    const auto fields = parse_csv_line(line);
    if (fields.size() < columns_.size()) {
      fail(number, "found " + std::to_string(fields.size()) + " fields, expected " +
                       std::to_string(columns_.size()));
    }
    if (!split.empty()) {
      const auto column = columns_.find("split");
      if (column == columns_.end()) fail(1, "found no column 'split', expected one for --split");
      if (fields[column->second] != split) return std::nullopt;
    }
    return Sample{file_.parent_path() / fields[columns_.at("file")], class_of(fields, number)};
  }

 private:
  [[noreturn]] void fail(int64_t line, const std::string& what) const {
    throw Error(ErrorKind::kFormat, file_.string() + " line " + std::to_string(line) + ": " + what);
  }

  int64_t class_of(const std::vector<std::string>& fields, int64_t number) const {
    if (const auto column = columns_.find("class_index"); column != columns_.end()) {
      const std::string& text = fields[column->second];
      int64_t index = -1;
      const char* end = text.data() + text.size();
      if (std::from_chars(text.data(), end, index).ptr != end || index < 0 || index >= classes_) {
        fail(number, "found class_index '" + text + "', expected 0 to " +
                         std::to_string(classes_ - 1) + ", the model's classes");
      }
      return index;
    }
    const std::string& label = fields[columns_.at("label")];
    const auto found = by_label_.find(label);
    if (found == by_label_.end()) {
      fail(number, "found label '" + label + "', expected one of the model's labels");
    }
    return found->second;
  }

  std::filesystem::path file_;
  std::map<std::string, int64_t> by_label_;
  std::map<std::string, size_t> columns_;
  int64_t classes_ = 0;
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

}  // namespace

std::vector<Sample> read_dataset(const std::filesystem::path& folder,
                                 const std::vector<std::string>& labels, const std::string& split,
                                 int64_t limit) {
  const auto file = folder / "labels.csv";
  std::ifstream in(file);
  if (!in) {
    throw Error(ErrorKind::kNotFound, file.string() +
                                          ": not found or unreadable; --data needs a "
                                          "folder with labels.csv");
  }
  LabelTable table(file, labels);
  std::vector<Sample> samples;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (number == 1) {
      if (line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // spreadsheets write a mark first
      if (line.ends_with('\r')) line.pop_back();
      table.read_header(line);
    } else if (!line.empty() && line != "\r") {
      if (auto sample = table.read_row(line, number, split)) samples.push_back(std::move(*sample));
    }
  }
  if (samples.empty()) {
    throw Error(ErrorKind::kFormat, file.string() + ": found no sample" +
                                        (split.empty() ? "" : " of split '" + split + "'"));
  }
  const auto total = static_cast<int64_t>(samples.size());
  if (limit <= 0 || limit >= total) return samples;
  std::vector<Sample> chosen;
  for (int64_t i = 0; i < limit; ++i) chosen.push_back(samples[i * total / limit]);
  return chosen;
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
        if (!failure) failure = std::current_exception();
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
