// What pre-processing costs: one 1080p frame to the patches of a 224 x 224 model, on one thread,
// beside OpenCV doing the same job. Prints one JSON object a line; `vs_opencv` is OpenCV's median
// over ours.
//
//     bench/preprocess [rounds]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "media/preprocess.h"
#include "media/row_kernels.h"
#ifdef TOME_BENCH_OPENCV
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#endif

namespace {

constexpr int kWidth = 1920, kHeight = 1080, kInput = 224, kPatch = 16, kShort = 248;

struct Entry {
  std::string engine, format, filter;
  std::function<void()> run;
  std::vector<double> ms;
};

// A smooth picture with some noise, about what a decoder delivers.
std::vector<uint8_t> samples(size_t count) {
  std::vector<uint8_t> data(count);
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525U + 1013904223U;
    data[i] = static_cast<uint8_t>(64 + (i / 16) % 120 + (state >> 28));
  }
  return data;
}

struct Source {
  std::string name;
  tome::Frame frame;
  std::vector<uint8_t> data;
};

Source make_source(const std::string& name, tome::PixelFormat format) {
  Source source;
  source.name = name;
  tome::Frame& frame = source.frame;
  frame.format = format;
  frame.width = kWidth;
  frame.height = kHeight;
  const size_t luma = size_t{kWidth} * kHeight;
  const bool packed = format == tome::PixelFormat::kRgb || format == tome::PixelFormat::kBgrx;
  const size_t pixel = format == tome::PixelFormat::kBgrx ? 4 : 3;
  source.data = samples(packed ? luma * pixel : luma * 3 / 2);
  const uint8_t* at = source.data.data();
  if (packed) {
    frame.planes[0] = {at, static_cast<int64_t>(kWidth * pixel), luma * pixel};
  } else if (format == tome::PixelFormat::kNv12) {
    frame.planes[0] = {at, kWidth, luma};
    frame.planes[1] = {at + luma, kWidth, luma / 2};
  } else {
    frame.planes[0] = {at, kWidth, luma};
    frame.planes[1] = {at + luma, kWidth / 2, luma / 4};
    frame.planes[2] = {at + luma + luma / 4, kWidth / 2, luma / 4};
  }
  return source;
}

void add_ours(std::vector<Entry>& entries, const Source& source, const std::string& filter,
              tome::SimdLevel level, std::vector<float>& patches) {
  tome::PreprocessSpec spec;
  spec.width = spec.height = kInput;
  spec.resize_short = kShort;
  spec.interpolation =
      filter == "bicubic" ? tome::Interpolation::kBicubic : tome::Interpolation::kBilinear;
  const std::string engine = std::string("tome-") + tome::row_kernels(level)->name;
  entries.push_back({engine, source.name, filter, [&source, &patches, spec, level] {
                       tome::use_simd_level(level);
                       tome::preprocess_to_patches(source.frame, spec, kPatch, patches.data());
                     }});
}

#ifdef TOME_BENCH_OPENCV
// The usual Python way: convert the frame, resize it, cut the centre, normalise, one plane a
// channel.
void run_opencv(const Source& source, int interpolation, std::vector<float>& planes) {
  auto* data = const_cast<uint8_t*>(source.data.data());
  cv::Mat rgb, resized, normalised;
  if (source.name == "RGB") {
    rgb = cv::Mat(kHeight, kWidth, CV_8UC3, data);
  } else if (source.name == "BGRx") {
    cv::cvtColor(cv::Mat(kHeight, kWidth, CV_8UC4, data), rgb, cv::COLOR_BGRA2RGB);
  } else {
    cv::cvtColor(cv::Mat(kHeight * 3 / 2, kWidth, CV_8UC1, data), rgb,
                 source.name == "NV12" ? cv::COLOR_YUV2RGB_NV12 : cv::COLOR_YUV2RGB_I420);
  }
  cv::resize(rgb, resized, cv::Size(kShort * kWidth / kHeight, kShort), 0, 0, interpolation);
  const cv::Rect centre((resized.cols - kInput) / 2, (resized.rows - kInput) / 2, kInput, kInput);
  resized(centre).convertTo(normalised, CV_32FC3, 1.0 / 127.5, -1.0);
  std::vector<cv::Mat> channels;
  for (int c = 0; c < 3; ++c) {
    channels.emplace_back(kInput, kInput, CV_32FC1, planes.data() + c * kInput * kInput);
  }
  cv::split(normalised, channels);
}

// INTER_AREA antialiases and costs accordingly; INTER_CUBIC does not look at most of the pixels.
void add_opencv(std::vector<Entry>& entries, const Source& source, std::vector<float>& planes) {
  cv::setNumThreads(1);
  entries.push_back(
      {"opencv", source.name, "area", [&] { run_opencv(source, cv::INTER_AREA, planes); }});
  entries.push_back(
      {"opencv", source.name, "cubic", [&] { run_opencv(source, cv::INTER_CUBIC, planes); }});
}
#else
void add_opencv(std::vector<Entry>&, const Source&, std::vector<float>&) {}
#endif

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Processor time of this thread: what pre-processing costs, whoever else uses the machine.
double thread_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// Rounds of everything, one after the other, so that whatever slows the machine slows all alike.
void measure(std::vector<Entry>& entries, int rounds) {
  for (int round = -3; round < rounds; ++round) {
    for (Entry& entry : entries) {
      const double start = thread_ms();
      entry.run();
      const double took = thread_ms() - start;
      if (round >= 0) entry.ms.push_back(took);
    }
  }
}

void print(const std::vector<Entry>& entries, const Entry& entry) {
  std::printf(
      "{\"engine\": \"%s\", \"source\": \"%s %dx%d\", \"filter\": \"%s\", "
      "\"ms_median\": %.3f, \"ms_min\": %.3f, \"ms_max\": %.3f",
      entry.engine.c_str(), entry.format.c_str(), kWidth, kHeight, entry.filter.c_str(),
      median(entry.ms), *std::min_element(entry.ms.begin(), entry.ms.end()),
      *std::max_element(entry.ms.begin(), entry.ms.end()));
  const char* separator = ", \"vs_opencv\": {";
  for (const Entry& other : entries) {
    if (other.engine != "opencv" || other.format != entry.format || entry.engine == "opencv") {
      continue;
    }
    std::printf("%s\"%s\": %.2f", separator, other.filter.c_str(),
                median(other.ms) / median(entry.ms));
    separator = ", ";
  }
  std::printf("%s}\n", *separator == ',' && separator[2] == '\0' ? "}" : "");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 51;
  if (rounds < 1) {
    std::fprintf(stderr, "preprocess: rounds is %s, expected at least 1\n", argv[1]);
    return 2;
  }
  const Source sources[] = {
      make_source("NV12", tome::PixelFormat::kNv12), make_source("I420", tome::PixelFormat::kI420),
      make_source("RGB", tome::PixelFormat::kRgb), make_source("BGRx", tome::PixelFormat::kBgrx)};
  std::vector<float> out(size_t{3} * kInput * kInput);
  std::vector<Entry> entries;
  for (const Source& source : sources) {
    for (const auto level : tome::kSimdLevels) {
      if (tome::row_kernels(level) == nullptr) continue;
      add_ours(entries, source, "bicubic", level, out);
      add_ours(entries, source, "bilinear", level, out);
    }
    add_opencv(entries, source, out);
  }
  measure(entries, rounds);
  for (const Entry& entry : entries) print(entries, entry);
  return 0;
}
