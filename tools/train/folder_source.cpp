#include "train/folder_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <opencv2/imgproc.hpp>
#include <system_error>

#include "checkpoint/preprocess_config.h"
#include "dataset.h"
#include "error_line.h"
#include "media/colour.h"
#include "media/geometry.h"
#include "tome_error.h"
#include "train/hash.h"
#include "train/mirrored_labels.h"

namespace tome::train {
namespace {

constexpr size_t kKeptOrders = 4;  // of samples, by epoch

/// What of a frame is looked at, and where in the model's input that lies.
struct View {
  cv::Rect part, target;
};

/// All that inference sees of `part`, placed as inference places it.
View placed(const cv::Rect& part, const PreprocessSpec& spec) {
  const Placement placement = place(part.width, part.height, spec);
  const auto axis = [](const AxisPlacement& of, int offset, int& start, int& length) {
    const double scale = static_cast<double>(of.source) / static_cast<double>(of.resized);
    const auto most = static_cast<int>(of.source);
    length = std::clamp(static_cast<int>(std::lround(of.count * scale)), 1, most);
    const auto first = static_cast<int>(std::lround(static_cast<double>(of.first) * scale));
    start = offset + std::min(first, most - length);
  };
  View view;
  axis(placement.x, part.x, view.part.x, view.part.width);
  axis(placement.y, part.y, view.part.y, view.part.height);
  view.target = {placement.x.target, placement.y.target, placement.x.count, placement.y.count};
  return view;
}

/// The picture whose random parts are drawn: where inference cuts the centre out and does not
/// stretch, the largest one of the input's shape, so that no part is stretched much either.
cv::Size2d uncut(cv::Size size, const PreprocessSpec& spec) {
  const cv::Size2d whole = size;
  if (spec.crop_mode != CropMode::kCenter) return whole;
  const double aspect = static_cast<double>(spec.width) / spec.height;
  return {std::min(whole.width, whole.height * aspect),
          std::min(whole.height, whole.width / aspect)};
}

/// A random part, of the input's shape give or take a quarter (kCenter) or of the frame's
/// (kSquash), stretched into the input; where inference never stretches (kBorder), it keeps its
/// shape.
View draw_view(cv::Size size, const FolderOptions& options, const PreprocessSpec& spec,
               Random& random) {
  const cv::Size2d whole = uncut(size, spec);
  const double share = std::sqrt(random.uniform(options.smallest_crop, 1.0));
  const double shape = std::sqrt(random.log_uniform(0.8, 1.25));
  cv::Rect part;
  part.width = std::clamp(static_cast<int>(whole.width * share * shape), 1, size.width);
  part.height = std::clamp(static_cast<int>(whole.height * share / shape), 1, size.height);
  part.x = static_cast<int>(random.index(size.width - part.width + 1));
  part.y = static_cast<int>(random.index(size.height - part.height + 1));
  if (spec.crop_mode == CropMode::kBorder) return placed(part, spec);
  return {part, {0, 0, spec.width, spec.height}};
}

/// RGB of what no picture covers, 0 .. 255.
cv::Scalar fill_colour(const PreprocessSpec& spec) {
  const Normalisation normalisation = normalisation_of(spec);
  const std::array<float, 3> fill = fill_of(spec, normalisation);
  cv::Scalar colour;
  for (int c = 0; c < 3; ++c) {
    colour[c] = std::nearbyint(fill[c] / normalisation.scale[c] + normalisation.mean[c]);
  }
  return colour;
}

/// A random change of brightness, contrast and saturation (one sample in eight grey), as a 3 x 4
/// matrix on RGB in 0 .. 255: every frame of a clip takes the same.
cv::Matx34f draw_colours(double jitter, Random& random) {
  const double gain = random.log_uniform(1 / (1 + jitter), 1 + jitter);
  const double offset = 127.5 * (1 - gain) + 127.5 * random.uniform(-jitter, jitter);
  const double saturation =
      random.chance(0.125) ? 0 : random.uniform(1 - jitter, 1 + std::min(jitter, 1.0));
  const double grey[3] = {0.299, 0.587, 0.114};
  cv::Matx34f out;
  for (int to = 0; to < 3; ++to) {
    for (int from = 0; from < 3; ++from) {
      out(to, from) = static_cast<float>(
          gain * ((to == from ? saturation : 0) + (1 - saturation) * grey[from]));
    }
    out(to, 3) = static_cast<float>(offset);
  }
  return out;
}

}  // namespace

FolderSource::FolderSource(FolderOptions options, std::vector<std::string> labels,
                           const ViTConfig& config, const PreprocessSpec& preprocess,
                           int64_t batch_size, uint64_t seed)
    : options_(std::move(options)),
      labels_(std::move(labels)),
      mirrored_(mirrored_labels(labels_)),
      config_(config),
      preprocess_(preprocess),
      batch_size_(batch_size),
      seed_(seed),
      fill_(fill_colour(preprocess)),
      cache_(options_.cache) {
  if (!cache_) cache_ = std::make_shared<VideoCache>(default_cache_bytes());
  // A little larger than the input, for parts to be cut from.
  int side = std::max(preprocess_.width, preprocess_.height) * 8 / 7;
  if (preprocess_.crop_mode == CropMode::kCenter) side = std::max(side, preprocess_.resize_short);
  video_options_ = {side, options_.frame_stride, config_.frames};
  if (!options_.dataset) options_.dataset = std::make_shared<cli::Dataset>(options_.folder);
  for (const cli::Sample& sample : options_.dataset->samples(labels_, options_.split, 0)) {
    files_.push_back(sample.file);
    classes_.push_back(sample.class_index);
  }
}

RunSettings FolderSource::settings() const {
  return {{"samples", std::to_string(samples())},
          {"split", options_.split},
          {"data-hash", data_hash()},
          {"batch", std::to_string(batch_size_)},
          {"frame-stride", std::to_string(options_.frame_stride)},
          {"jitter", exact(options_.jitter)},
          {"crop", name_of(preprocess_.crop_mode)},
          {"flip", options_.flip ? "yes" : "no"}};
}

std::vector<std::string> FolderSource::labels_without_sample() const {
  std::vector<bool> seen(labels_.size(), false);
  for (const int64_t label : classes_) {
    seen[static_cast<size_t>(label)] = true;
    if (!options_.augment || !options_.flip) continue;
    seen[static_cast<size_t>(mirrored_[static_cast<size_t>(label)])] = true;
  }
  std::vector<std::string> out;
  for (size_t i = 0; i < labels_.size(); ++i) {
    if (!seen[i]) out.push_back(labels_[i]);
  }
  return out;
}

/// Of the samples in order: name in the folder, size and class. Reading all of them would take
/// longer than many a run.
std::string FolderSource::data_hash() const {
  Hash hash;
  for (size_t i = 0; i < files_.size(); ++i) {
    std::error_code missing;  // then the size is a number too, and decoding names the file
    const auto size = static_cast<int64_t>(std::filesystem::file_size(files_[i], missing));
    const auto name = files_[i].lexically_relative(options_.folder);
    hash.add_item((name.empty() ? files_[i] : name).string()).add_item(size).add_item(classes_[i]);
  }
  return hash.text();
}

std::shared_ptr<const Video> FolderSource::load(size_t sample) const {
  const std::filesystem::path& file = files_[sample];
  const auto video = cache_->get(file, [&] { return read_video(file, video_options_); });
  if (video->cut && !warned_.exchange(true)) {
    const auto frames = static_cast<int64_t>(video->frames.size()) * video->step;
    cli::say("'" + file.string() + "' is long: with --frame-stride only its first " +
             std::to_string(frames) + " frames are used, and so it is with others like it");
  }
  return video;
}

int64_t FolderSource::draw_first(const Video& video, Random& random) const {
  const auto length = static_cast<int64_t>(video.frames.size());
  const int64_t stride = std::max<int64_t>(options_.frame_stride / video.step, 1);
  const int64_t spare = length - ((config_.frames - 1) * stride + 1);
  if (options_.augment) return random.index(std::max<int64_t>(spare + 1, 1));
  return std::max<int64_t>(spare / 2, 0);
}

int64_t FolderSource::draw_frame(int64_t i, int64_t first, const Video& video,
                                 Random& random) const {
  const auto length = static_cast<int64_t>(video.frames.size());
  int64_t at = first + i * (options_.frame_stride / video.step);
  if (options_.frame_stride == 0) {  // one frame from each of as many equal parts
    const double place = options_.augment ? random.unit() : 0.5;
    at = static_cast<int64_t>((static_cast<double>(i) + place) * static_cast<double>(length) /
                              static_cast<double>(config_.frames));
  }
  return std::min(at, length - 1);
}

std::vector<cv::Mat> FolderSource::draw_clip(const Video& video, Random& random,
                                             bool mirror) const {
  const cv::Size size = video.frames[0].size();
  const View view = options_.augment ? draw_view(size, options_, preprocess_, random)
                                     : placed({{0, 0}, size}, preprocess_);
  const int64_t first = draw_first(video, random);
  const bool recolour = options_.augment && options_.jitter > 0;
  const cv::Matx34f colours =
      recolour ? draw_colours(std::min(options_.jitter, 1.0), random) : cv::Matx34f();
  std::vector<cv::Mat> out;
  for (int64_t i = 0; i < config_.frames; ++i) {
    const auto at = static_cast<size_t>(draw_frame(i, first, video, random));
    cv::Mat shown;
    cv::resize(video.frames[at](view.part), shown, view.target.size(), 0, 0, cv::INTER_AREA);
    if (mirror) cv::flip(shown, shown, 1);
    if (recolour) cv::transform(shown, shown, colours);
    cv::Mat frame(preprocess_.height, preprocess_.width, CV_8UC3, fill_);
    shown.copyTo(frame(view.target));
    out.push_back(frame);
  }
  return out;
}

/// A shuffle that depends on the epoch alone, so that any batch can be made on its own.
std::shared_ptr<const std::vector<size_t>> FolderSource::order_of(int64_t epoch) const {
  const std::lock_guard lock(order_mutex_);
  if (const auto found = orders_.find(epoch); found != orders_.end()) return found->second;
  std::vector<size_t> order(files_.size());
  std::iota(order.begin(), order.end(), 0);
  Random random(Random::mix(seed_, static_cast<uint64_t>(epoch), 0xe90c));
  for (int64_t i = samples() - 1; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.index(i + 1))]);
  }
  // Batches come about in order: what is epochs behind is not asked for again.
  if (orders_.size() >= kKeptOrders) orders_.erase(orders_.begin());
  return orders_.emplace(epoch, std::make_shared<const std::vector<size_t>>(std::move(order)))
      .first->second;
}

size_t FolderSource::sample_at(int64_t position) const {
  if (!options_.augment) return static_cast<size_t>(position % samples());
  return order_of(position / samples())->at(static_cast<size_t>(position % samples()));
}

Batch FolderSource::batch(int64_t index) const {
  const int64_t cells = config_.grid_rows() * config_.grid_cols();
  int64_t size = batch_size_;
  if (!options_.augment) size = std::min(size, samples() - index * batch_size_);
  Batch batch;
  batch.patches = at::empty({size, config_.frames, cells, 3 * config_.patch * config_.patch});
  batch.labels = at::empty({size}, at::kLong);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t position = index * batch_size_ + i;
    const size_t sample = sample_at(position);
    Random random(Random::mix(seed_, static_cast<uint64_t>(position), 0xf0));
    const bool mirror = options_.augment && options_.flip && random.chance(0.5);
    const auto video = load(sample);
    frames_to_patches(draw_clip(*video, random, mirror), config_.patch, preprocess_,
                      batch.patches[i].data_ptr<float>());
    const int64_t label = classes_[sample];
    batch.labels[i] = mirror ? mirrored_[static_cast<size_t>(label)] : label;
  }
  return batch;
}

}  // namespace tome::train
