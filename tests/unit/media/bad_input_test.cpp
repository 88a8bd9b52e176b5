// What a frame or a spec may be wrong about: an error of the right kind that names the numbers, and
// never a byte read outside a plane.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "media/pixel_layout.h"
#include "media/row_kernels.h"
#include "media_test_util.h"
#include "tome_error.h"

namespace tome {
namespace {

using testing::kAllFormats;
using testing::name_of;
using testing::noise_frame;

PreprocessSpec small_spec() {
  auto spec = testing::plain_spec(16, 16, CropMode::kCenter, Interpolation::kBicubic);
  spec.resize_short = 18;
  return spec;
}

// Expects an Error of this kind whose text has each of the words.
void expect_error(const Frame& frame, const PreprocessSpec& spec, ErrorKind kind,
                  const std::vector<std::string>& words) {
  std::vector<float> planes(size_t{1} << 16, 7.0F);
  try {
    preprocess_to_planes(frame, spec, planes.data());
    ADD_FAILURE() << "no error that mentions " << words.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "'" << error.what() << "' does not mention '" << word << "'";
    }
  }
  for (const float value : planes)
    ASSERT_EQ(value, 7.0F) << "something was written before the error";
}

TEST(BadFrame, EmptyOrNegativeSizes) {
  for (const auto& [width, height] : {std::pair{0, 20}, {20, 0}, {-3, 20}, {20, -1}, {0, 0}}) {
    testing::OwnedFrame owned = noise_frame(PixelFormat::kRgb, 20, 20, 1);
    owned.frame.width = width;
    owned.frame.height = height;
    expect_error(owned.frame, small_spec(), ErrorKind::kSettings,
                 {"empty", std::to_string(width) + "x" + std::to_string(height)});
  }
}

TEST(BadFrame, RegionsOutsideIt) {
  testing::OwnedFrame owned = noise_frame(PixelFormat::kNv12, 20, 10, 1);
  constexpr int32_t kHuge = INT32_MAX;
  for (const Region region : {Region{0, 0, 21, 10},
                              {0, 0, 20, 11},
                              {-1, 0, 5, 5},
                              {0, -2, 5, 5},
                              {19, 0, 2, 2},
                              {0, 9, 2, 2},
                              {20, 10, 1, 1},
                              {0, 0, -4, 4},
                              {0, 0, 4, -4},
                              {0, 0, 4, 0},
                              {kHuge, 0, kHuge, 4},
                              {0, kHuge, 4, kHuge}}) {
    owned.frame.region = region;
    expect_error(
        owned.frame, small_spec(), ErrorKind::kSettings,
        {"region", std::to_string(region.width) + "x" + std::to_string(region.height), "20x10"});
  }
}

TEST(BadFrame, PlanesTooSmallForTheLayout) {
  for (const PixelFormat format : kAllFormats) {
    const size_t planes = testing::plane_shapes(format, 21, 11).size();
    for (size_t plane = 0; plane < planes; ++plane) {
      testing::OwnedFrame owned = noise_frame(format, 21, 11, 1, 2);
      const std::string name = "plane " + std::to_string(plane);
      owned.frame.planes[plane].size -= 1;
      expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {name, "21x11", "expected"});
      owned.frame.planes[plane].size = 0;
      expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {name, "expected"});
      owned.frame.planes[plane].data = nullptr;
      expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {name, "missing"});
    }
  }
}

TEST(Planes, OddSidesHaveASampleOfChromaForTheLastPixel) {
  const auto size = [](LayoutKind kind, int plane) {
    const PlaneSize samples = plane_samples(kind, plane, 21, 11);
    return std::pair{samples.columns, samples.rows};
  };
  using Sides = std::pair<int64_t, int64_t>;
  EXPECT_EQ(size(LayoutKind::kPacked, 0), (Sides{21, 11}));
  EXPECT_EQ(size(LayoutKind::kMacropixel, 0), (Sides{11, 11}));
  for (const LayoutKind kind : {LayoutKind::kSemiPlanar, LayoutKind::kPlanar}) {
    EXPECT_EQ(size(kind, 0), (Sides{21, 11}));
    EXPECT_EQ(size(kind, 1), (Sides{11, 6}));
  }
  EXPECT_EQ(size(LayoutKind::kPlanar, 2), (Sides{11, 6}));
}

TEST(BadFrame, StridesThatMakeNoSense) {
  for (const int64_t stride : {int64_t{59}, int64_t{0}, int64_t{-60}, INT64_MIN}) {
    testing::OwnedFrame owned = noise_frame(PixelFormat::kRgb, 20, 20, 1);
    owned.frame.planes[0].stride = stride;
    expect_error(owned.frame, small_spec(), ErrorKind::kFormat,
                 {"stride", std::to_string(stride), "60"});
  }
  testing::OwnedFrame owned = noise_frame(PixelFormat::kRgb, 20, 20, 1);
  owned.frame.planes[0].stride = INT64_MAX;
  expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {"plane 0", "1200"});
}

TEST(BadFrame, SizesThatOverflow) {
  testing::OwnedFrame owned = noise_frame(PixelFormat::kRgba, 4, 4, 1);
  owned.frame.width = owned.frame.height = INT32_MAX;
  owned.frame.planes[0].stride = int64_t{INT32_MAX} * 4;
  expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {"2147483647x2147483647", "plane 0"});
}

TEST(BadFrame, PixelsOnADeviceAndUnknownFormats) {
  testing::OwnedFrame owned = noise_frame(PixelFormat::kNv12, 20, 20, 1);
  owned.frame.memory = MemoryKind::kCuda;
  expect_error(owned.frame, small_spec(), ErrorKind::kDevice, {"CUDA memory", "host memory"});
  owned.frame.memory = MemoryKind::kHost;
  owned.frame.format = static_cast<PixelFormat>(99);
  expect_error(owned.frame, small_spec(), ErrorKind::kFormat, {"99"});
}

TEST(BadSpec, NumbersThatMakeNoSense) {
  const testing::OwnedFrame owned = noise_frame(PixelFormat::kRgb, 20, 20, 1);
  const std::pair<const char*, std::function<void(PreprocessSpec&)>> cases[] = {
      {"input size", [](PreprocessSpec& s) { s.width = 0; }},
      {"input size", [](PreprocessSpec& s) { s.height = -5; }},
      {"resize_short", [](PreprocessSpec& s) { s.resize_short = 0; }},
      {"scale size", [](PreprocessSpec& s) { s.scale_width = 20; }},
      {"scale size", [](PreprocessSpec& s) { s.scale_width = s.scale_height = -1; }},
      {"std", [](PreprocessSpec& s) { s.std[1] = 0; }},
      {"std", [](PreprocessSpec& s) { s.std[2] = NAN; }},
      {"mean", [](PreprocessSpec& s) { s.mean[0] = INFINITY; }},
      {"rescale", [](PreprocessSpec& s) { s.rescale = 0; }},
      {"rescale", [](PreprocessSpec& s) { s.rescale = NAN; }}};
  for (const auto& [word, damage] : cases) {
    PreprocessSpec spec = small_spec();
    damage(spec);
    expect_error(owned.frame, spec, ErrorKind::kSettings, {word, "expected"});
  }
}

TEST(BadSpec, PatchesThatDoNotDivideTheInput) {
  const testing::OwnedFrame owned = noise_frame(PixelFormat::kRgb, 20, 20, 1);
  std::vector<float> patches(3 * 16 * 16);
  for (const int patch : {0, -16, 5, 32}) {
    try {
      preprocess_to_patches(owned.frame, small_spec(), patch, patches.data());
      ADD_FAILURE() << patch;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kSettings);
      EXPECT_NE(std::string(error.what()).find("16x16"), std::string::npos) << error.what();
    }
  }
}

// Memory of which the first byte after the end, and the last before the start, cannot be read.
class Guarded {
 public:
  Guarded(const std::vector<uint8_t>& content, bool at_end) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t inner = (content.size() + page - 1) / page * page;
    size_ = inner + 2 * page;
    base_ =
        static_cast<uint8_t*>(mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    mprotect(base_ + page, inner, PROT_READ | PROT_WRITE);
    data_ = base_ + page + (at_end ? inner - content.size() : 0);
    std::memcpy(data_, content.data(), content.size());
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, size_); }
  const uint8_t* data() const { return data_; }

 private:
  uint8_t* base_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// A read outside ends the test program.
TEST(Planes, NothingOutsideThemIsRead) {
  for (const auto level : kSimdLevels) {
    if (!use_simd_level(level)) continue;
    for (const PixelFormat format : kAllFormats) {
      for (const auto& [width, height] : {std::pair{1, 1},
                                          {2, 1},
                                          {3, 2},
                                          {5, 5},
                                          {17, 9},
                                          {31, 40},
                                          {65, 33},
                                          {200, 7},
                                          {7, 90},
                                          {401, 230}}) {
        for (const bool at_end : {false, true}) {
          testing::OwnedFrame owned = noise_frame(format, width, height, 4);
          std::vector<std::unique_ptr<Guarded>> guarded;
          for (size_t p = 0; p < owned.storage.size(); ++p) {
            guarded.push_back(std::make_unique<Guarded>(owned.storage[p], at_end));
          }
          const auto spec = small_spec();
          const std::vector<float> expected = testing::planes_of(owned.frame, spec);
          for (size_t p = 0; p < guarded.size(); ++p) {
            owned.frame.planes[p].data = guarded[p]->data();
          }
          EXPECT_EQ(testing::planes_of(owned.frame, spec), expected)
              << name_of(format) << " " << width << "x" << height;
        }
      }
    }
  }
}

}  // namespace
}  // namespace tome
