// What tomeoverlay writes, and where it puts it.
#include <algorithm>
#include <chrono>
#include <clocale>
#include <limits>

#include "label_places.h"
#include "overlay_fixture.h"

namespace tome::testing {
namespace {

using gst::overlay_labels;
using gst::OverlayLabel;
using gst::OverlayLine;
using gst::OverlayPainter;
using gst::OverlayStyle;

TEST(OverlayLabels, AreTheBestTagsOfTheFrameALineEach) {
  const std::vector<Classification> results{
      result({{1, "pan-left", 0.981}, {2, "steady", 0.019}, {3, "tilt", 0.0}})};
  EXPECT_EQ(
      overlay_labels(results, 2),
      (std::vector<OverlayLabel>{{{{"pan-left", "0.98"}, {"steady", "0.02"}}, std::nullopt}}));
  EXPECT_TRUE(overlay_labels(results, 0).empty());
  EXPECT_TRUE(overlay_labels({}, 3).empty());
}

TEST(OverlayLabels, OfSeveralModelsStandUnderTheirNames) {
  std::vector<Classification> results{result({{1, "cat", 0.5}}), result({{2, "dog", 0.25}})};
  results[1].model = "deit";
  EXPECT_EQ(overlay_labels(results, 1),
            (std::vector<OverlayLabel>{
                {{{"vit:", ""}, {"cat", "0.50"}, {"deit:", ""}, {"dog", "0.25"}}, std::nullopt}}));
}

TEST(OverlayLabels, OfRegionsHaveTheirBoxEvenWithoutATag) {
  const std::array<int, 4> one{1, 2, 3, 4}, two{5, 6, 7, 8};
  const std::vector<Classification> results{result({{1, "cat", 0.5}}, one), result({}, two)};
  EXPECT_EQ(overlay_labels(results, 1),
            (std::vector<OverlayLabel>{{{{"cat", "0.50"}}, one}, {{}, two}}));
}

TEST(OverlayLabels, AreValidTextWhateverTheLabelHolds) {
  const std::vector<Classification> results{
      result({{1, "a\nb\x01", 1}, {7, "", 1}, {2, "\xff\xfe", 1}})};
  const auto labels = overlay_labels(results, 3);
  ASSERT_EQ(labels.size(), 1U);
  ASSERT_EQ(labels[0].lines.size(), 3U);
  for (const OverlayLine& line : labels[0].lines) {
    EXPECT_TRUE(g_utf8_validate(line.name.c_str(), -1, nullptr));
  }
  EXPECT_EQ(labels[0].lines[0], (OverlayLine{"a b ", "1.00"}));
  EXPECT_EQ(labels[0].lines[1], (OverlayLine{"7", "1.00"}));
}

TEST(OverlayLabels, OfALabelWithoutEndTheBeginningIsDrawn) {
  const auto name_of = [](const std::string& label) {
    return overlay_labels(std::vector{result({{1, label, 1}})}, 1).at(0).lines.at(0).name;
  };
  const std::string most(256, 'a');
  EXPECT_EQ(name_of(most), most);
  EXPECT_EQ(name_of(most + "a"), most + "\u2026");
  for (const char* letter : {"a", "\u00e9", "\u4f60", "\U0001f600", "\xff"}) {
    std::string label;
    for (int i = 0; i < 100000; ++i) label += letter;
    const std::string name = name_of(label);
    ASSERT_TRUE(g_utf8_validate(name.c_str(), -1, nullptr)) << letter;
    EXPECT_EQ(g_utf8_strlen(name.c_str(), -1), 257) << letter;
    const std::string shown = *letter == '\xff' ? "\ufffd" : letter;
    EXPECT_TRUE(name.ends_with(shown + "\u2026")) << letter;
  }
}

TEST(OverlayLabels, ScoresHaveAPointAndTwoDecimalsWhateverTheyAreAndTheLocale) {
  // Not on every machine, and then the rest still counts.
  for (const char* locale : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"}) {
    if (std::setlocale(LC_NUMERIC, locale) != nullptr) break;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const auto& [score, text] : {std::pair{0.75, "0.75"},
                                    {-3.456, "-3.46"},
                                    {kInfinity, "inf"},
                                    {-kInfinity, "-inf"},
                                    {std::numeric_limits<double>::quiet_NaN(), "nan"}}) {
    const std::vector<Classification> results{result({{1, "a", score}})};
    EXPECT_EQ(overlay_labels(results, 1).at(0).lines.at(0).score, text);
  }
  std::setlocale(LC_NUMERIC, "C");
  const std::vector<Classification> huge{result({{1, "a", std::numeric_limits<double>::lowest()}})};
  EXPECT_EQ(overlay_labels(huge, 1).at(0).lines.at(0).score.size(), 313U);
}

TEST(OverlayLabels, OfManyRegionsTakeNoTimeThatGrowsWithTheirSquare) {
  std::vector<Classification> results;
  for (int i = 0; i < 60000; ++i) results.push_back(result({{1, "a", 1}}, std::array{i, 0, 9, 9}));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(overlay_labels(results, 1).size(), results.size());
  // It takes a twentieth of a second, and took seven.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST(OverlayLabels, HaveNoMoreLinesThanCanBeRead) {
  const std::vector<gst::Tag> tags(100, {1, "a", 1});
  EXPECT_EQ(overlay_labels(std::vector{result(tags)}, 100).at(0).lines.size(), 100U)
      << "what top-k asks for at most";
  const std::vector<Classification> frames(3000, result(tags));
  const auto of_frame = overlay_labels(frames, 100);
  ASSERT_EQ(of_frame.size(), 1U);
  EXPECT_EQ(of_frame[0].lines.size(), 100U);
  EXPECT_EQ(of_frame[0].lines[0], (OverlayLine{"vit:", ""})) << "the first ones";
  const std::vector<Classification> regions(3000, result(tags, std::array{1, 2, 3, 4}));
  EXPECT_EQ(overlay_labels(regions, 3).at(0).lines.size(), 100U);
}

TEST(OverlayLabels, OfManyRegionsShareTheirLinesAndLeaveTheFrameItsOwn) {
  const std::vector<gst::Tag> tags(100, {1, "a", 1});
  std::vector<Classification> results;
  for (int i = 0; i < 256; ++i) results.push_back(result(tags, std::array{i, 0, 9, 9}));
  results.push_back(result(tags));
  for (const unsigned top_k : {3U, 4U, 5U, 100U}) {
    size_t lines = 0;
    const auto labels = overlay_labels(results, top_k);
    ASSERT_EQ(labels.size(), 257U);
    for (const OverlayLabel& label : labels) lines += label.region ? label.lines.size() : 0;
    EXPECT_EQ(lines, std::min(256U * top_k, 1024U));
    EXPECT_EQ(labels[0].lines.size(), top_k);
    EXPECT_EQ(labels[256].lines.size(), top_k);
  }
}

TEST(OverlayLabels, RegionsFollowTheScaler) {
  std::vector<Classification> results{
      result({}, std::array{64, 48, 320, 240}), result({}, std::array{1, 2, 3, 4}),
      result({}, std::array{2000000000, -7, 2000000000, 4}), result({})};
  results[0].frame_size = {640, 480};
  results[2].frame_size = {1, 1};
  results[3].frame_size = {640, 480};
  gst::scale_regions(results, 320, 120);
  EXPECT_EQ(results[0].region, (std::array{32, 12, 160, 60}));
  EXPECT_EQ(results[1].region, (std::array{1, 2, 3, 4})) << "does not say";
  EXPECT_EQ((*results[2].region)[1], -7 * 120);
  EXPECT_FALSE(results[3].region);
  results[0].frame_size = {0, -1};
  gst::scale_regions(results, 640, 480);
  EXPECT_EQ(results[0].region, (std::array{32, 12, 160, 60}));
}

TEST(OverlayPainter, PutsTextWhereTheStyleSays) {
  const std::vector<OverlayLabel> labels{{{{"pan-left", "0.98"}}, std::nullopt}};
  for (const bool right : {false, true}) {
    for (const bool bottom : {false, true}) {
      OverlayStyle style;
      style.horizontal = right ? gst::HorizontalAlign::kRight : gst::HorizontalAlign::kLeft;
      style.vertical = bottom ? gst::VerticalAlign::kBottom : gst::VerticalAlign::kTop;
      OverlayPainter painter;
      const auto composition = painter.paint(labels, style, 640, 480);
      ASSERT_NE(composition, nullptr);
      const auto all = rectangles_of(composition.get());
      ASSERT_EQ(all.size(), 1U);
      EXPECT_EQ(all[0].x > 320, right);
      EXPECT_EQ(all[0].y > 240, bottom);
      EXPECT_LE(all[0].x + static_cast<int>(all[0].width), 640);
      EXPECT_LE(all[0].y + static_cast<int>(all[0].height), 480);
    }
  }
}

TEST(OverlayPainter, PutsARegionsTextAboveItsBoxOrInsideAtTheTopOfTheFrame) {
  OverlayPainter painter;
  for (const int y : {200, 3}) {
    const auto composition =
        painter.paint({{{{"cat", "0.50"}}, std::array<int, 4>{100, y, 300, 200}}}, {}, 640, 480);
    const auto all = rectangles_of(composition.get());
    ASSERT_EQ(all.size(), 5U) << "four sides and the text";
    EXPECT_EQ(all[0].x, 100);
    EXPECT_EQ(all[0].y, y);
    EXPECT_EQ(all[0].width, 300U);
    EXPECT_EQ(all[1].y + static_cast<int>(all[1].height), y + 200);
    EXPECT_EQ(all[3].x + static_cast<int>(all[3].width), 400);
    EXPECT_EQ(all[4].x, 100);
    const int bottom = all[4].y + static_cast<int>(all[4].height);
    EXPECT_EQ(y == 200 ? bottom : all[4].y, y);
  }
}

bool touch(const Rectangle& a, const Rectangle& b) {
  const auto end = [](int start, unsigned length) { return start + static_cast<int>(length); };
  return a.x < end(b.x, b.width) && b.x < end(a.x, a.width) && a.y < end(b.y, b.height) &&
         b.y < end(a.y, a.height);
}

TEST(OverlayPainter, TextsOfNeighboursStandBesideEachOther) {
  // Eight people abreast, one above the other's legs, and the frame's own tags where the first is.
  std::vector<OverlayLabel> labels;
  for (int i = 0; i < 8; ++i) {
    labels.push_back(
        {{{"person walking", "0.97"}, {"person", "0.02"}}, std::array{5 + 40 * i, 30, 60, 150}});
  }
  labels.push_back({{{"street", "0.50"}}, std::nullopt});
  OverlayStyle style;
  style.font = "Sans 8px";
  OverlayPainter painter;
  std::vector<Rectangle> texts = rectangles_of(painter.paint(labels, style, 640, 360).get());
  ASSERT_EQ(texts.size(), 1U + 8 * 5);
  std::erase_if(texts, [](const Rectangle& one) { return one.height < 5 || one.width < 5; });
  ASSERT_EQ(texts.size(), 9U);
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(touch(texts[i], texts[j])) << i << " and " << j;
  }
}

TEST(LabelPlaces, ComeInTheirOrderAndCoverTheLeastWhereThereIsNoRoom) {
  gst::LabelPlaces places(100, 100);
  const gst::Area box{20, 40, 40, 40};
  const auto next = [&] { return places.beside(box, 30, 10); };
  EXPECT_EQ(next(), (gst::Area{20, 30, 30, 10})) << "above, from the left edge on";
  EXPECT_EQ(next(), (gst::Area{20, 40, 30, 10})) << "inside: the right edge's is on the first";
  EXPECT_EQ(next(), (gst::Area{20, 80, 30, 10})) << "below";
  EXPECT_EQ(next(), (gst::Area{20, 70, 30, 10})) << "inside, at the bottom";
  EXPECT_EQ(next(), (gst::Area{30, 30, 30, 10})) << "on one of four, by 20 of 30 columns";
  places = gst::LabelPlaces(100, 100);
  places.take({0, 30, 24, 10});
  EXPECT_EQ(next(), (gst::Area{30, 30, 30, 10})) << "up to the right edge";
  places = gst::LabelPlaces(100, 45);
  EXPECT_EQ(places.beside({20, 5, 40, 40}, 30, 10), (gst::Area{20, 5, 30, 10})) << "no room above";
  EXPECT_EQ(places.beside({20, 5, 40, 40}, 30, 10), (gst::Area{20, 35, 30, 10})) << "nor below";
}

TEST(OverlayPainter, StaysInTheFrameWhateverItsSizeAndTheBoxes) {
  OverlayPainter painter;
  constexpr int kHuge = 2000000000;
  for (const auto& [width, height] : {std::pair{1, 1}, {16, 8}, {640, 480}}) {
    for (const std::array<int, 4> box : {std::array{0, 0, 1, 1},
                                         {-5, -5, 8, 8},
                                         {3, 3, 0, 0},
                                         {kHuge, kHuge, 5, 5},
                                         {kHuge, kHuge, kHuge, kHuge},
                                         {0, 0, kHuge, kHuge}}) {
      const auto composition = painter.paint(
          {{{{std::string(500, 'W'), "1"}}, box}, {{{"a", ""}}, std::nullopt}}, {}, width, height);
      ASSERT_NE(composition, nullptr);
      for (const Rectangle& one : rectangles_of(composition.get())) {
        EXPECT_GE(one.x, 0);
        EXPECT_GE(one.y, 0);
        EXPECT_LE(one.x + int64_t{one.width}, width);
        EXPECT_LE(one.y + int64_t{one.height}, height);
      }
    }
  }
}

TEST(OverlayPainter, AHugeFontIsAsHighAsTheFrameAtMost) {
  for (const char* font : {"Sans 200000", "Sans 200000px", "Sans 999999999"}) {
    OverlayStyle style;
    style.font = font;
    OverlayPainter painter;
    const auto composition = painter.paint({{{{"cat", "0.50"}, {"dog", "0.25"}}, std::nullopt},
                                            {{{"dog", "0.25"}}, std::array{9, 9, 50, 50}}},
                                           style, 64, 48);
    ASSERT_NE(composition, nullptr) << font;
    for (const Rectangle& one : rectangles_of(composition.get())) {
      EXPECT_LE(one.x + static_cast<int>(one.width), 64) << font;
      EXPECT_LE(one.y + static_cast<int>(one.height), 48) << font;
    }
  }
}

TEST(OverlayPainter, AFontsSizeCountsUpToThat) {
  unsigned before = 0;
  for (const char* font : {"Sans 10", "Sans 20", "Sans 40px"}) {
    OverlayStyle style;
    style.font = font;
    const auto all = rectangles_of(
        OverlayPainter().paint({{{{"cat", ""}}, std::nullopt}}, style, 640, 480).get());
    ASSERT_EQ(all.size(), 1U);
    EXPECT_GT(all[0].height, before) << font;
    before = all[0].height;
  }
}

/// What the composition's only rectangle shows in its last `width` columns.
std::vector<uint8_t> right_end(GstVideoOverlayComposition* composition, guint width) {
  std::vector<uint8_t> bytes;
  GstBuffer* pixels = gst_video_overlay_rectangle_get_pixels_unscaled_argb(
      gst_video_overlay_composition_get_rectangle(composition, 0),
      GST_VIDEO_OVERLAY_FORMAT_FLAG_PREMULTIPLIED_ALPHA);
  const GstVideoMeta* meta = gst_buffer_get_video_meta(pixels);
  GstMapInfo map;
  EXPECT_TRUE(gst_buffer_map(pixels, &map, GST_MAP_READ));
  for (guint y = 0; y < meta->height; ++y) {
    const uint8_t* end = map.data + y * static_cast<gsize>(meta->stride[0]) + 4 * meta->width;
    bytes.insert(bytes.end(), end - 4 * width, end);
  }
  gst_buffer_unmap(pixels, &map);
  return bytes;
}

TEST(OverlayPainter, ALongNameLosesItsEndAndNeverItsScore) {
  OverlayStyle style;
  style.font = "Sans 10";
  // Its right end is that of any line with this score, and differs with the score.
  constexpr guint kScore = 25;
  const auto drawn = [&](const std::string& name, const std::string& score) {
    OverlayPainter painter;
    const auto composition = painter.paint({{{{name, score}}, std::nullopt}}, style, 160, 120);
    EXPECT_LE(rectangles_of(composition.get())[0].width, 160U);
    return right_end(composition.get(), kScore);
  };
  const std::string name = "Greater Swiss Mountain dog, of the great Swiss mountains";
  for (const char* score : {"0.97", "-0.97"}) {
    EXPECT_EQ(drawn(name, score), drawn("Greater", score));
    EXPECT_NE(drawn(name, score), drawn(name, "0.12"));
  }
}

TEST(OverlayPainter, NoBoxRunsThroughAText) {
  OverlayPainter painter;
  const auto composition = painter.paint({{{{"cat", "0.50"}}, std::array{100, 100, 80, 80}},
                                          {{{"dog", "0.25"}}, std::array{60, 60, 100, 60}},
                                          {{{"street", "0.75"}}, std::nullopt}},
                                         {}, 640, 480);
  const std::vector<Rectangle> all = rectangles_of(composition.get());
  ASSERT_EQ(all.size(), 2 * 4 + 3U);
  for (size_t i = 0; i < all.size(); ++i) {
    const bool bar = all[i].width <= 2 || all[i].height <= 2;
    EXPECT_EQ(bar, i < 8) << i;
    EXPECT_GE(std::min(all[i].width, all[i].height), 2U) << "one would lose its colour";
  }
}

/// The darkest opaque sample of the composition's first rectangle, 255 where all is clear.
int darkest(GstVideoOverlayComposition* composition) {
  int least = 255;
  const std::vector<uint8_t> argb = right_end(composition, rectangles_of(composition)[0].width);
  for (size_t i = 0; i < argb.size(); i += 4) {
    if (argb[i + 3] > 100) least = std::min<int>(least, argb[i + 1]);
  }
  return least;
}

TEST(OverlayPainter, TextWithoutAShadeHasADarkEdge) {
  OverlayStyle style;
  style.shaded = false;
  const auto composition =
      OverlayPainter().paint({{{{"cat", "0.50"}}, std::nullopt}}, style, 640, 480);
  EXPECT_LT(darkest(composition.get()), 60);
}

TEST(OverlayPainter, KeepsWhatItDrewUntilSomethingChanges) {
  OverlayPainter painter;
  const std::vector<OverlayLabel> labels{{{{"cat", "0.50"}}, std::nullopt}};
  const auto first = painter.paint(labels, {}, 640, 480);
  EXPECT_EQ(painter.paint(labels, {}, 640, 480).get(), first.get());
  EXPECT_NE(painter.paint(labels, {}, 320, 240).get(), first.get());
  EXPECT_NE(painter.paint({{{{"cat", "0.51"}}, std::nullopt}}, {}, 640, 480).get(), first.get());
  EXPECT_EQ(painter.paint({}, {}, 640, 480), nullptr);
}

TEST(OverlayPainter, DrawsNoMoreRegionsThanItsLimit) {
  std::vector<OverlayLabel> labels;
  for (int i = 0; i < 5000; ++i) {
    labels.push_back({{}, std::array<int, 4>{i % 600, i % 400, 20, 20}});
  }
  OverlayPainter painter;
  const auto composition = painter.paint(labels, {}, 640, 480);
  EXPECT_EQ(rectangles_of(composition.get()).size(), 4 * OverlayPainter::kMostRegions);
}

}  // namespace
}  // namespace tome::testing
