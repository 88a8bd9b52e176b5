#include "sample_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "error_line.h"
#include "media_reader.h"
#include "tome_error.h"

namespace tome::cli {
namespace {

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

/// An error with the row of labels.csv that named the file.
Error with_row(const Error& error, int64_t line) {
  if (line == 0) return error;
  return {error.kind(),
          std::string(error.what()) + " (labels.csv line " + std::to_string(line) + ")"};
}

/// Of `rows`, `windows` to a sample, those of the samples at `places`.
at::Tensor rows_of(const at::Tensor& rows, const std::vector<int64_t>& places, int64_t windows) {
  if (static_cast<int64_t>(places.size()) * windows == rows.size(0)) return rows;
  return rows.unflatten(0, {-1, windows})
      .index_select(0, at::tensor(places, at::kLong))
      .flatten(0, 1);
}

}  // namespace

at::Tensor patch_rows(const Frame& frame, const Checkpoint& checkpoint) {
  const ViTConfig& config = checkpoint.config;
  at::Tensor rows = at::empty(
      {config.grid_rows() * config.grid_cols(), config.channels * config.patch * config.patch},
      at::kFloat);
  preprocess_to_patches(frame, checkpoint.preprocess, static_cast<int32_t>(config.patch),
                        rows.mutable_data_ptr<float>());
  return rows;
}

SampleRows load_samples(const std::vector<Sample>& samples, const Checkpoint& checkpoint,
                        const SamplePlan& plan, int threads) {
  const ViTConfig& config = checkpoint.config;
  const int64_t n = config.grid_rows() * config.grid_cols();
  const int64_t width = config.channels * config.patch * config.patch;
  const auto count = static_cast<int64_t>(samples.size());
  const at::Tensor rows = at::empty({count * plan.windows, plan.frames, n, width}, at::kFloat);
  float* data = rows.mutable_data_ptr<float>();
  const int64_t sample_size = plan.windows * plan.frames * n * width;

  std::atomic<int64_t> next{0};
  std::vector<std::optional<Error>> errors(samples.size());  // each is one thread's alone
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      try {
        load_sample(samples[i], checkpoint, plan, n * width, data + i * sample_size);
      } catch (const Error& error) {
        errors[i] = with_row(error, samples[i].line);
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
  SampleRows result;
  for (int64_t i = 0; i < count; ++i) {
    if (!errors[i]) {
      result.read.push_back(i);
    } else if (is_of_file(errors[i]->kind())) {
      result.unreadable.push_back(*errors[i]);
    } else {
      throw *errors[i];
    }
  }
  result.patches = rows_of(rows, result.read, plan.windows);
  return result;
}

}  // namespace tome::cli
