// Resizing and cropping of RGB against PIL, torchvision and timm themselves: equal to the bit.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "media_test_util.h"

namespace tome {
namespace {

using nlohmann::json;
using testing::picture;

struct Case {
  json described;
  std::vector<uint8_t> expected;  // [height, width, 3]
};

PreprocessSpec spec_of(const json& c) {
  static const std::map<std::string, Interpolation> interpolations = {
      {"nearest", Interpolation::kNearest},
      {"bilinear", Interpolation::kBilinear},
      {"bicubic", Interpolation::kBicubic},
      {"lanczos", Interpolation::kLanczos}};
  static const std::map<std::string, CropMode> crops = {
      {"center", CropMode::kCenter}, {"squash", CropMode::kSquash}, {"border", CropMode::kBorder}};
  PreprocessSpec spec = testing::plain_spec(c["width"], c["height"], crops.at(c["crop"]),
                                            interpolations.at(c["interpolation"]));
  spec.resize_short = c.value("resize_short", 0);
  spec.antialias = c["antialias"];
  if (c.contains("scale")) {
    spec.scale_height = c["scale"][0];
    spec.scale_width = c["scale"][1];
  }
  // As checkpoints have it, so that what is compared went through a normalisation and back.
  spec.rescale = 1.0F / 255.0F;
  spec.mean = {0.485F, 0.456F, 0.406F};
  spec.std = {0.229F, 0.224F, 0.225F};
  return spec;
}

Frame frame_of(const json& c, const std::vector<uint8_t>& rgb) {
  Frame frame;
  frame.format = PixelFormat::kRgb;
  frame.width = c["source_width"];
  frame.height = c["source_height"];
  frame.planes[0] = {rgb.data(), int64_t{frame.width} * 3, rgb.size()};
  if (c.contains("region")) {
    frame.region = {c["region"][0], c["region"][1], c["region"][2], c["region"][3]};
  }
  return frame;
}

double level(float normalised, const PreprocessSpec& spec, int channel) {
  return (double{normalised} * spec.std[channel] + spec.mean[channel]) * 255.0;
}

std::vector<Case> cases() {
  const auto folder = testing::fixtures() / "media";
  std::ifstream described(folder / "preprocess_cases.json");
  std::ifstream data(folder / "preprocess_cases.bin", std::ios::binary);
  std::vector<Case> result;
  for (const json& c : json::parse(described)) {
    result.push_back({c, std::vector<uint8_t>(size_t{c["width"]} * size_t{c["height"]} * 3)});
    data.read(reinterpret_cast<char*>(result.back().expected.data()),
              static_cast<std::streamsize>(result.back().expected.size()));
    if (!data) throw std::runtime_error("preprocess_cases.bin is shorter than its description");
  }
  return result;
}

class PilCase : public ::testing::TestWithParam<Case> {};

TEST_P(PilCase, EqualsThePythonOriginal) {
  const auto& [c, expected] = GetParam();
  std::vector<uint8_t> rgb = picture(c["source_width"], c["source_height"], c["seed"]);
  if (!c["antialias"]) {
    for (uint8_t& value : rgb) value = value / 2 + 64;  // see without_antialias of the generator
  }
  const PreprocessSpec spec = spec_of(c);
  const std::vector<float> planes = testing::planes_of(frame_of(c, rgb), spec);
  // PIL rounds to 8 bits after each pass and so do we; torch, without antialias, does not.
  const double tolerance = c["antialias"] ? 0.001 : 1.001;
  const size_t pixels = size_t(spec.width) * spec.height;
  int wrong = 0;
  for (size_t i = 0; i < pixels; ++i) {
    for (int channel = 0; channel < 3; ++channel) {
      const double ours = level(planes[channel * pixels + i], spec, channel);
      const double theirs = expected[i * 3 + channel];
      if (std::abs(ours - theirs) <= tolerance) continue;
      if (++wrong <= 5) {
        ADD_FAILURE() << "pixel (" << i % spec.width << ", " << i / spec.width << ") channel "
                      << channel << ": " << ours << ", expected " << theirs;
      }
    }
  }
  EXPECT_EQ(wrong, 0) << c.dump();
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  const json& c = info.param.described;
  return std::to_string(c["seed"].get<int>()) + "_" + c["crop"].get<std::string>() + "_" +
         c["interpolation"].get<std::string>() + "_" +
         std::to_string(c["source_width"].get<int>()) + "x" +
         std::to_string(c["source_height"].get<int>());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PilCase, ::testing::ValuesIn(cases()), case_name);

// The same picture in every packed layout, with rows apart from one another.
TEST(PackedLayouts, GiveWhatRgbGives) {
  const int width = 53, height = 37;
  const std::vector<uint8_t> rgb = picture(width, height, 7);
  Frame reference;
  reference.format = PixelFormat::kRgb;
  reference.width = width;
  reference.height = height;
  reference.planes[0] = {rgb.data(), width * 3, rgb.size()};
  PreprocessSpec spec = testing::plain_spec(32, 32, CropMode::kCenter, Interpolation::kBicubic);
  spec.resize_short = 34;
  const std::vector<float> expected = testing::planes_of(reference, spec);

  const std::map<PixelFormat, std::string> orders = {
      {PixelFormat::kBgr, "bgr"},   {PixelFormat::kRgbx, "rgb-"}, {PixelFormat::kBgrx, "bgr-"},
      {PixelFormat::kRgba, "rgb-"}, {PixelFormat::kBgra, "bgr-"}, {PixelFormat::kRgb, "rgb"}};
  for (const auto& [format, order] : orders) {
    testing::OwnedFrame owned = testing::noise_frame(format, width, height, 3, 5);
    const auto& plane = owned.frame.planes[0];
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) {
          const size_t at = order.find("rgb"[c]);
          owned.storage[0][y * plane.stride + x * order.size() + at] = rgb[(y * width + x) * 3 + c];
        }
      }
    }
    EXPECT_EQ(testing::planes_of(owned.frame, spec), expected) << testing::name_of(format);
  }
}

TEST(PackedLayouts, GrayIsThreeEqualChannels) {
  const int width = 41, height = 30;
  testing::OwnedFrame gray = testing::noise_frame(PixelFormat::kGray8, width, height, 5, 3);
  testing::OwnedFrame rgb = testing::noise_frame(PixelFormat::kRgb, width, height, 6);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width * 3; ++x) {
      rgb.storage[0][y * width * 3 + x] = gray.storage[0][y * (width + 3) + x / 3];
    }
  }
  const auto spec = testing::plain_spec(16, 16, CropMode::kSquash, Interpolation::kBicubic);
  EXPECT_EQ(testing::planes_of(gray.frame, spec), testing::planes_of(rgb.frame, spec));
}

// The documented place of every number in the patch rows, for a patch size with and without a fast
// path, and for a picture that does not cover the input.
TEST(NormalisedLevels, AreOfTheFirstChannelsDeviation) {
  PreprocessSpec spec;
  spec.std = {0.25F, 0.5F, 1.0F};
  EXPECT_FLOAT_EQ(static_cast<float>(normalised_levels(2, spec)), 8.0F / 255);  // as `rescale` is
  spec.rescale = 1.0F;
  EXPECT_EQ(normalised_levels(2, spec), 8);
}

TEST(Patches, HoldThePlanesRearranged) {
  for (const int patch : {8, 16}) {
    for (const CropMode crop : {CropMode::kSquash, CropMode::kBorder}) {
      const testing::OwnedFrame owned = testing::noise_frame(PixelFormat::kNv12, 90, 41, 9);
      auto spec = testing::plain_spec(48, 32, crop, Interpolation::kBilinear);
      spec.mean = {10.0F, 20.5F, 30.0F};
      const std::vector<float> planes = testing::planes_of(owned.frame, spec);
      std::vector<float> patches(planes.size());
      preprocess_to_patches(owned.frame, spec, patch, patches.data());
      for (int c = 0; c < 3; ++c) {
        for (int y = 0; y < spec.height; ++y) {
          for (int x = 0; x < spec.width; ++x) {
            const size_t row = (y / patch) * (spec.width / patch) + x / patch;
            const size_t column = (c * patch + y % patch) * patch + x % patch;
            ASSERT_EQ(patches[row * 3 * patch * patch + column],
                      planes[(c * spec.height + y) * spec.width + x])
                << "patch " << patch << " at (" << x << ", " << y << ") channel " << c;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tome
