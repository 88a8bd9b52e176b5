// inference-region=roi-list: regions of a detector, classified and tracked.
#include "element_fixture.h"

namespace tome::testing {
namespace {

using Regions = ElementTest;

const std::initializer_list<std::pair<const char*, const char*>> kRoi = {
    {"model", "m"}, {"inference-region", "roi-list"}};

GstVideoRegionOfInterestMeta* add_roi(GstBuffer* buffer, const char* type, guint x, guint y,
                                      guint w, guint h, int id = 0) {
  auto* roi = gst_buffer_add_video_region_of_interest_meta(buffer, type, x, y, w, h);
  roi->id = id;
  return roi;
}

const GstStructure* param_of(GstBuffer* buffer, unsigned index) {
  gpointer state = nullptr;
  for (unsigned i = 0;; ++i) {
    GstMeta* meta = gst_buffer_iterate_meta_filtered(buffer, &state,
                                                     GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE);
    if (meta == nullptr) return nullptr;
    if (i == index) {
      return gst_video_region_of_interest_meta_get_param(
          reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta), "classification");
    }
  }
}

TEST_F(Regions, EachGetsItsOwnResultInTheMetaAndOnTheRegion) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "person", 2, 1, 4, 4);
  add_roi(buffer, "car", 8, 3, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  const auto results = gst::results_of(out.get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].region, (std::array<int, 4>{2, 1, 4, 4}));
  EXPECT_EQ(results[0].tags[0].id, 16 * 1 + 2);
  EXPECT_EQ(results[1].region, (std::array<int, 4>{8, 3, 4, 4}));
  EXPECT_EQ(results[1].tags[0].id, 16 * 3 + 8);
  for (const auto& [index, value] : {std::pair{0U, 18}, std::pair{1U, 56}}) {
    const GstStructure* param = param_of(out.get(), index);
    ASSERT_NE(param, nullptr);
    int id = 0;
    EXPECT_TRUE(gst_structure_get_int(param, "label-id", &id));
    EXPECT_EQ(id, value);
    EXPECT_EQ(gst_structure_get_string(param, "label"), "value-" + std::to_string(value));
  }
}

TEST_F(Regions, ASharedBufferIsCopiedAndItsRegionsStillMatch) {
  Harness h(kRoi);
  h.set_caps();
  const Ptr<GstBuffer> shared(numbered_frame(0));
  for (guint i = 0; i < 8; ++i) add_roi(shared.get(), "x", i, 0, 2, 2);
  ASSERT_EQ(h.push(gst_buffer_ref(shared.get())), GST_FLOW_OK);
  const auto out = h.pull();
  for (unsigned i = 0; i < 8; ++i) {
    const GstStructure* param = param_of(out.get(), i);
    ASSERT_NE(param, nullptr);
    int id = -1;
    gst_structure_get_int(param, "label-id", &id);
    EXPECT_EQ(id, static_cast<int>(i));
    EXPECT_EQ(param_of(shared.get(), i), nullptr) << "the other owner's buffer stays as it was";
  }
}

TEST_F(Regions, ObjectClassSelects) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"object-class", "person, car"}});
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "person", 1, 0, 4, 4);
  add_roi(buffer, "dog", 2, 0, 4, 4);
  add_roi(buffer, "car", 3, 0, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].tags[0].id, 1);
  EXPECT_EQ(results[1].tags[0].id, 3);
}

TEST_F(Regions, EmptyAndOutsideOnesAreLeftAloneAndOthersClipped) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "x", 4, 4, 0, 3);
  add_roi(buffer, "x", 16, 0, 4, 4);
  add_roi(buffer, "x", 3, 4000000000U, 4, 4);
  add_roi(buffer, "x", 10, 5, 4000000000U, 4000000000U);
  add_roi(buffer, "x", 0, 0, 16, 8);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].region, (std::array<int, 4>{10, 5, 6, 3}));
  EXPECT_EQ(results[1].region, (std::array<int, 4>{0, 0, 16, 8}));
}

TEST_F(Regions, AFrameWithoutAnyPassesWithoutInference) {
  Harness h(kRoi);
  h.set_caps();
  ASSERT_EQ(h.push(numbered_frame(0)), GST_FLOW_OK);
  EXPECT_TRUE(gst::results_of(h.pull().get()).empty());
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(Regions, ThousandsAreOneTicket) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  for (guint i = 0; i < 5000; ++i) add_roi(buffer, "x", i % 12, i % 6, 2, 2, static_cast<int>(i));
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto results = gst::results_of(h.pull().get());
  ASSERT_EQ(results.size(), 5000U);
  EXPECT_EQ(results[4999].tags[0].id, 16 * (4999 % 6) + 4999 % 12);
  EXPECT_EQ(core_.frames().size(), 1U);
}

TEST_F(Regions, TrackedOnesAreClassifiedEveryNthFrameAndHeldBetween) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "3"}});
  h.set_caps();
  std::vector<std::pair<int, int>> seen;  // id, age
  for (int i = 0; i < 5; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    // It moves by one pixel a frame.
    auto* roi = add_roi(buffer, "x", static_cast<guint>(i), 0, 4, 4);
    gst_video_region_of_interest_meta_add_param(
        roi, gst_structure_new("object_id", "id", G_TYPE_INT, 42, nullptr));
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto results = gst::results_of(h.pull().get());
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].region, (std::array<int, 4>{i, 0, 4, 4})) << "where it is now";
    seen.emplace_back(static_cast<int>(results[0].tags[0].id), results[0].age);
  }
  EXPECT_EQ(seen, (std::vector<std::pair<int, int>>{{0, 0}, {0, 1}, {0, 2}, {3, 0}, {3, 1}}));
  EXPECT_EQ(core_.frames().size(), 2U);
}

TEST_F(Regions, TwoWithOneIdInOneFrameAreTwoObjects) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "5"}});
  h.set_caps();
  for (int i = 0; i < 2; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    add_roi(buffer, "face", 1, 0, 4, 4, 3);
    add_roi(buffer, "face", 8, 4, 4, 4, 3);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto out = h.pull();
    const auto results = gst::results_of(out.get());
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(results[0].tags[0].id, 1);
    EXPECT_EQ(results[0].age, static_cast<unsigned>(i)) << "the first is tracked";
    EXPECT_EQ(results[1].tags[0].id, 16 * 4 + 8);
    EXPECT_EQ(results[1].age, 0U) << "the second is classified every time";
    int id = -1;
    ASSERT_NE(param_of(out.get(), 1), nullptr);
    EXPECT_TRUE(gst_structure_get_int(param_of(out.get(), 1), "label-id", &id));
    EXPECT_EQ(id, 16 * 4 + 8);
  }
}

TEST_F(Regions, IntervalZeroClassifiesEachTrackOnce) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "0"}});
  h.set_caps();
  for (int i = 0; i < 6; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    add_roi(buffer, "x", 1, 0, 4, 4, 7);
    if (i >= 3) add_roi(buffer, "x", 2, 0, 4, 4, 8);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    EXPECT_EQ(gst::results_of(h.pull().get()).size(), i >= 3 ? 2U : 1U);
  }
  EXPECT_EQ(core_.frames().size(), 2U);
}

TEST_F(Regions, AfterASkippedInferenceATrackIsDueAgain) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"reclassify-interval", "10"},
             {"inference-interval", "2"}});
  h.set_caps();
  // Another track takes the first due frame, so that this one's first submission is not due.
  std::vector<size_t> counts;
  for (int i = 0; i < 3; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    add_roi(buffer, "x", 1, 0, 4, 4, i == 0 ? 7 : 8);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    counts.push_back(gst::results_of(h.pull().get()).size());
  }
  EXPECT_EQ(counts, (std::vector<size_t>{1, 0, 1}));
}

}  // namespace
}  // namespace tome::testing
