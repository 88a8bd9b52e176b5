// The pre-processing kernel, run on the host: equal to the CPU's pre-processing, number for number
// (which tests/unit/media holds against PIL).
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cuda/executor/host_executor.h"
#include "media/colour.h"
#include "media/frame_staging.h"
#include "media/pixel_layout.h"
#include "media/preprocess.h"
#include "tome_error.h"

namespace tome::testing {
namespace {

/// A frame of noise over a gradient whose planes end exactly where the layout's last sample does,
/// in memory of their own, so that a sanitizer sees every byte read too many.
struct Picture {
  Frame frame;
  std::vector<std::vector<uint8_t>> planes;
};

struct PlaneShape {
  int64_t row_bytes, rows;
};

std::vector<PlaneShape> planes_of(PixelFormat format, int64_t width, int64_t height) {
  const PixelLayout& layout = layout_of(format);
  const int64_t half_width = (width + 1) / 2, half_height = (height + 1) / 2;
  switch (layout.kind) {
    case LayoutKind::kPacked:
      return {{width * layout.bytes, height}};
    case LayoutKind::kSemiPlanar:
      return {{width * layout.bytes, height}, {half_width * 2 * layout.bytes, half_height}};
    case LayoutKind::kPlanar:
      return {{width, height}, {half_width, half_height}, {half_width, half_height}};
    default:
      return {{half_width * 4, height}};
  }
}

Picture picture_of(PixelFormat format, int width, int height, unsigned seed) {
  Picture picture;
  picture.frame.format = format;
  picture.frame.width = width;
  picture.frame.height = height;
  std::mt19937 random(seed);
  for (const PlaneShape& shape : planes_of(format, width, height)) {
    const int64_t stride = shape.row_bytes + 13;  // pitched, and not aligned
    std::vector<uint8_t> bytes(static_cast<size_t>(stride * (shape.rows - 1) + shape.row_bytes));
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(i / 7 + random() % 90);
    }
    picture.planes.push_back(std::move(bytes));
    Plane& plane = picture.frame.planes[picture.planes.size() - 1];
    plane.stride = stride;
    plane.data = picture.planes.back().data();
    plane.size = picture.planes.back().size();
  }
  return picture;
}

PreprocessSpec spec_of(int size, CropMode mode, Interpolation interpolation) {
  PreprocessSpec spec;
  spec.width = spec.height = size;
  spec.resize_short = size * 8 / 7;
  spec.crop_mode = mode;
  spec.interpolation = interpolation;
  spec.mean = {0.485F, 0.456F, 0.406F};
  spec.std = {0.229F, 0.224F, 0.225F};
  return spec;
}

template <class T>
std::vector<T> run_kernel(const std::vector<const Frame*>& frames, const PreprocessSpec& spec,
                          int patch, cuda::ThreadOrder order) {
  FrameStaging staging(spec);
  for (const Frame* frame : frames) staging.add(*frame);
  // A vector of its own, so that a sanitizer sees every byte beside the block.
  std::vector<unsigned char> block(staging.lay_out());
  staging.fill(block.data(), block.data(), false);
  std::vector<T> patches(frames.size() * 3 * static_cast<size_t>(spec.width * spec.height));
  const Normalisation normalisation = normalisation_of(spec);
  const auto fill = fill_of(spec, normalisation);
  cuda::PreprocessParams<T> p;
  p.jobs = reinterpret_cast<const cuda::FrameJob*>(block.data());
  p.patches = patches.data();
  p.frames = static_cast<int>(frames.size());
  p.width = spec.width;
  p.height = spec.height;
  p.patch = patch;
  for (int c = 0; c < 3; ++c) {
    p.mean[c] = normalisation.mean[c];
    p.scale[c] = normalisation.scale[c];
    p.fill[c] = fill[c];
  }
  cuda::HostLauncher launcher(order);
  cuda::launch_preprocess(launcher, p);
  EXPECT_EQ(launcher.launches(), 1);
  return patches;
}

std::vector<float> on_cpu(const Frame& frame, const PreprocessSpec& spec, int patch) {
  std::vector<float> patches(3 * static_cast<size_t>(spec.width * spec.height));
  preprocess_to_patches(frame, spec, patch, patches.data());
  return patches;
}

void expect_equal_to_cpu(const Frame& frame, const PreprocessSpec& spec, int patch) {
  const std::vector<float> expected = on_cpu(frame, spec, patch);
  for (const auto order : {cuda::ThreadOrder::kForwards, cuda::ThreadOrder::kBackwards}) {
    const std::vector<float> got = run_kernel<float>({&frame}, spec, patch, order);
    size_t different = 0;
    for (size_t i = 0; i < got.size(); ++i) different += got[i] != expected[i] ? 1 : 0;
    EXPECT_EQ(different, 0U) << "of " << got.size() << " in " << layout_of(frame.format).name << " "
                             << frame.width << "x" << frame.height;
  }
}

constexpr PixelFormat kFormats[] = {PixelFormat::kRgb,   PixelFormat::kBgr,  PixelFormat::kRgbx,
                                    PixelFormat::kBgrx,  PixelFormat::kRgba, PixelFormat::kBgra,
                                    PixelFormat::kGray8, PixelFormat::kNv12, PixelFormat::kI420,
                                    PixelFormat::kYuy2,  PixelFormat::kUyvy, PixelFormat::kP010};

TEST(PreprocessKernel, EveryFormatEqualsTheCpu) {
  const PreprocessSpec spec = spec_of(32, CropMode::kCenter, Interpolation::kBicubic);
  for (const PixelFormat format : kFormats) {
    expect_equal_to_cpu(picture_of(format, 75, 51, 1).frame, spec, 16);
    expect_equal_to_cpu(picture_of(format, 40, 161, 2).frame, spec, 8);
  }
}

TEST(PreprocessKernel, EveryCropAndInterpolation) {
  for (const auto mode : {CropMode::kCenter, CropMode::kSquash, CropMode::kBorder}) {
    for (const auto interpolation : {Interpolation::kNearest, Interpolation::kBilinear,
                                     Interpolation::kBicubic, Interpolation::kLanczos}) {
      PreprocessSpec spec = spec_of(28, mode, interpolation);
      for (const bool antialias : {true, false}) {
        spec.antialias = antialias;
        expect_equal_to_cpu(picture_of(PixelFormat::kRgb, 61, 47, 3).frame, spec, 14);
        expect_equal_to_cpu(picture_of(PixelFormat::kNv12, 61, 47, 4).frame, spec, 7);
      }
    }
  }
}

TEST(PreprocessKernel, FromTinyFramesToLargeOnes) {
  const PreprocessSpec spec = spec_of(16, CropMode::kSquash, Interpolation::kBicubic);
  for (const auto& [width, height] :
       {std::pair{1, 1}, {2, 3}, {16, 16}, {5, 300}, {1500, 9}, {1280, 720}}) {
    expect_equal_to_cpu(picture_of(PixelFormat::kRgbx, width, height, 5).frame, spec, 8);
    expect_equal_to_cpu(picture_of(PixelFormat::kI420, width, height, 6).frame, spec, 8);
  }
}

TEST(PreprocessKernel, EnlargedByOddFactors) {
  PreprocessSpec spec = spec_of(224, CropMode::kCenter, Interpolation::kBicubic);
  spec.resize_short = 248;  // for 126 columns some outer weights are 0, and left out of the taps
  for (const int width : {90, 102, 126, 150, 198}) {
    expect_equal_to_cpu(picture_of(PixelFormat::kNv12, width, 80, 14).frame, spec, 16);
    expect_equal_to_cpu(picture_of(PixelFormat::kRgb, width + 1, 80, 15).frame, spec, 16);
  }
}

TEST(PreprocessKernel, RegionsWithOddCorners) {
  const PreprocessSpec spec = spec_of(32, CropMode::kCenter, Interpolation::kBilinear);
  for (const PixelFormat format : {PixelFormat::kBgr, PixelFormat::kNv12, PixelFormat::kI420,
                                   PixelFormat::kYuy2, PixelFormat::kP010}) {
    Picture picture = picture_of(format, 120, 90, 7);
    for (const Region& region : {Region{1, 1, 77, 63}, {10, 21, 33, 41}, {119, 89, 1, 1}}) {
      picture.frame.region = region;
      expect_equal_to_cpu(picture.frame, spec, 16);
    }
  }
}

TEST(PreprocessKernel, EveryColourMatrixAndRange) {
  const PreprocessSpec spec = spec_of(16, CropMode::kSquash, Interpolation::kBilinear);
  for (const auto matrix : {ColorMatrix::kBt601, ColorMatrix::kBt709, ColorMatrix::kBt2020}) {
    for (const auto range : {ColorRange::kLimited, ColorRange::kFull}) {
      for (const auto format : {PixelFormat::kNv12, PixelFormat::kP010, PixelFormat::kGray8}) {
        Picture picture = picture_of(format, 40, 30, 8);
        picture.frame.matrix = matrix;
        picture.frame.range = range;
        expect_equal_to_cpu(picture.frame, spec, 16);
      }
    }
  }
}

TEST(PreprocessKernel, PixelsThatAreNotSquare) {
  for (const auto mode : {CropMode::kCenter, CropMode::kBorder}) {
    const PreprocessSpec spec = spec_of(32, mode, Interpolation::kBicubic);
    for (const PixelFormat format : kFormats) {
      for (const PixelAspect aspect : {PixelAspect{16, 11}, {1, 2}, {0, 0}}) {
        Picture picture = picture_of(format, 88, 72, 16);
        picture.frame.pixel_aspect = aspect;
        expect_equal_to_cpu(picture.frame, spec, 16);
        picture.frame.region = {11, 7, 50, 60};
        expect_equal_to_cpu(picture.frame, spec, 16);
      }
    }
  }
}

TEST(PreprocessKernel, FramesOfDifferentSizesAndFormatsInOneLaunch) {
  const PreprocessSpec spec = spec_of(40, CropMode::kBorder, Interpolation::kBicubic);
  std::vector<Picture> pictures;
  pictures.push_back(picture_of(PixelFormat::kNv12, 64, 48, 9));
  pictures.push_back(picture_of(PixelFormat::kRgb, 30, 100, 10));
  pictures.push_back(picture_of(PixelFormat::kI420, 333, 77, 11));
  pictures.push_back(picture_of(PixelFormat::kP010, 50, 60, 12));
  // As a GPU sees its own frames: read where they lie, whatever the others need.
  pictures[2].frame.memory = pictures[3].frame.memory = MemoryKind::kCuda;
  std::vector<const Frame*> frames;
  for (const Picture& picture : pictures) frames.push_back(&picture.frame);
  const auto got = run_kernel<cuda::Bf16>(frames, spec, 8, cuda::ThreadOrder::kForwards);
  const auto backwards = run_kernel<cuda::Bf16>(frames, spec, 8, cuda::ThreadOrder::kBackwards);
  for (size_t i = 0; i < frames.size(); ++i) {
    Frame host = *frames[i];
    host.memory = MemoryKind::kHost;
    const std::vector<float> expected = on_cpu(host, spec, 8);
    for (size_t k = 0; k < expected.size(); ++k) {
      ASSERT_EQ(got[i * expected.size() + k].bits, cuda::from_float<cuda::Bf16>(expected[k]).bits)
          << "frame " << i << ", number " << k;
      ASSERT_EQ(backwards[i * expected.size() + k].bits, got[i * expected.size() + k].bits);
    }
  }
}

TEST(PreprocessKernel, TheStrideOfALoneRowIsNobodys) {
  const PreprocessSpec spec = spec_of(16, CropMode::kSquash, Interpolation::kBilinear);
  for (const int64_t stride : {0, 3, -5}) {
    Picture grey = picture_of(PixelFormat::kGray8, 8, 1, 14);
    grey.frame.planes[0].stride = stride;
    expect_equal_to_cpu(grey.frame, spec, 16);
    Picture chroma = picture_of(PixelFormat::kNv12, 8, 2, 15);
    chroma.frame.planes[1].stride = stride;
    expect_equal_to_cpu(chroma.frame, spec, 16);
  }
}

TEST(FrameStaging, RegionsCostTheRowsThatTheyCoverAndShareTheirTaps) {
  const PreprocessSpec spec = spec_of(16, CropMode::kSquash, Interpolation::kBilinear);
  Picture picture = picture_of(PixelFormat::kNv12, 640, 480, 13);
  FrameStaging staging(spec);
  staging.add(picture.frame);
  const size_t whole = staging.lay_out();
  EXPECT_GE(whole, picture.frame.planes[0].size + picture.frame.planes[1].size);
  staging.clear();
  for (const int y : {10, 50, 90}) {
    picture.frame.region = {20, y, 64, 32};
    staging.add(picture.frame);
  }
  const size_t strips = staging.lay_out();
  EXPECT_LT(strips, whole / 2);  // 3 x 32 of 480 rows, and the taps once
  EXPECT_EQ(staging.frames(), 3U);
  // A frame that is refused is no part of the batch.
  picture.frame.region = {600, 0, 64, 32};
  EXPECT_THROW(staging.add(picture.frame), Error);
  EXPECT_EQ(staging.frames(), 3U);
  EXPECT_EQ(staging.lay_out(), strips);
}

}  // namespace
}  // namespace tome::testing
