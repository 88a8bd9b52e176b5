// Results as GstAnalytics metadata, and regions from it, read with GStreamer's own functions.
#include "element_fixture.h"

#if !HAS_GST_ANALYTICS

TEST(Analytics, NeedsGStreamer124) {
  GTEST_SKIP() << "this GStreamer has no gstreamer-analytics-1.0 (since 1.24)";
}

#else

#include <gst/analytics/analytics.h>

#include <optional>

namespace tome::testing {
namespace {

using Analytics = ElementTest;

const std::initializer_list<std::pair<const char*, const char*> > kRoi = {
    {"model", "m"}, {"inference-region", "roi-list"}};

GstAnalyticsODMtd add_od(GstBuffer* buffer, const char* type, int x, int y, int w, int h) {
  auto* meta = gst_buffer_get_analytics_relation_meta(buffer);
  if (meta == nullptr) meta = gst_buffer_add_analytics_relation_meta(buffer);
  GstAnalyticsODMtd od{};
  EXPECT_TRUE(gst_analytics_relation_meta_add_od_mtd(meta, g_quark_from_string(type), x, y, w, h,
                                                     0.5F, &od));
  return od;
}

struct Classes {
  guint id = 0;
  std::vector<std::pair<std::string, float> > tags;
};

std::vector<Classes> classes_on(GstBuffer* buffer) {
  std::vector<Classes> all;
  auto* meta = gst_buffer_get_analytics_relation_meta(buffer);
  if (meta == nullptr) return all;
  gpointer state = nullptr;
  GstAnalyticsClsMtd one{};
  while (gst_analytics_relation_meta_iterate(meta, &state, gst_analytics_cls_mtd_get_mtd_type(),
                                             &one)) {
    Classes found{one.id, {}};
    for (gsize i = 0; i < gst_analytics_cls_mtd_get_length(&one); ++i) {
      found.tags.emplace_back(g_quark_to_string(gst_analytics_cls_mtd_get_quark(&one, i)),
                              gst_analytics_cls_mtd_get_level(&one, i));
    }
    all.push_back(found);
  }
  return all;
}

struct Region {
  guint id = 0;
  std::string type, label;  // label: of the related class, as objectdetectionoverlay looks for it
  std::array<int, 4> at{};

  auto operator<=>(const Region&) const = default;
};

std::vector<Region> regions_on(GstBuffer* buffer) {
  std::vector<Region> all;
  auto* meta = gst_buffer_get_analytics_relation_meta(buffer);
  if (meta == nullptr) return all;
  gpointer state = nullptr;
  GstAnalyticsODMtd od{};
  while (
      gst_analytics_relation_meta_iterate(meta, &state, gst_analytics_od_mtd_get_mtd_type(), &od)) {
    Region region{od.id, g_quark_to_string(gst_analytics_od_mtd_get_obj_type(&od)), "", {}};
    float confidence = 0;
    gst_analytics_od_mtd_get_location(&od, region.at.data(), &region.at[1], &region.at[2],
                                      &region.at[3], &confidence);
    GstAnalyticsMtd related{};
    if (gst_analytics_relation_meta_get_direct_related(
            meta, od.id, GST_ANALYTICS_REL_TYPE_RELATE_TO, gst_analytics_cls_mtd_get_mtd_type(),
            nullptr, &related)) {
      region.label = g_quark_to_string(gst_analytics_cls_mtd_get_quark(&related, 0));
    }
    all.push_back(region);
  }
  return all;
}

TEST_F(Analytics, AFramesResultIsAClassificationWithoutARegion) {
  Harness h({{"model", "m"}, {"inference-interval", "2"}});
  h.set_caps();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(h.push(static_cast<uint8_t>(51 + i), i), GST_FLOW_OK);
    const auto out = h.pull();
    const auto classes = classes_on(out.get());
    ASSERT_EQ(classes.size(), 1U) << "held ones too";
    ASSERT_EQ(classes[0].tags.size(), 1U);
    EXPECT_EQ(classes[0].tags[0].first, "value-51");
    EXPECT_FLOAT_EQ(classes[0].tags[0].second, 51.0F / 255.0F);
    EXPECT_TRUE(regions_on(out.get()).empty());
    EXPECT_EQ(value_on(out.get()), 51) << "the custom meta as ever";
  }
}

TEST_F(Analytics, ASecondElementAddsItsOwn) {
  Harness first({{"model", "m"}});
  first.set_caps();
  ASSERT_EQ(first.push(10, 0), GST_FLOW_OK);
  Harness second({{"model", "m"}});
  second.set_caps();
  ASSERT_EQ(second.push(first.pull().release()), GST_FLOW_OK);
  EXPECT_EQ(classes_on(second.pull().get()).size(), 2U);
}

TEST_F(Analytics, DetectionsAreClassifiedAndRelated) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  const GstAnalyticsODMtd person = add_od(buffer, "person", 2, 1, 4, 4);
  const GstAnalyticsODMtd car = add_od(buffer, "car", -3, 3, 8, 4);
  add_od(buffer, "dog", 16, 0, 4, 4);  // outside
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  const auto regions = regions_on(out.get());
  ASSERT_EQ(regions.size(), 3U) << "none is added";
  EXPECT_EQ(regions[0], (Region{person.id, "person", "value-18", {2, 1, 4, 4}}));
  EXPECT_EQ(regions[1], (Region{car.id, "car", "value-48", {-3, 3, 8, 4}}));
  EXPECT_EQ(regions[2].label, "");
  const auto results = gst::results_of(out.get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1].region, (std::array<int, 4>{0, 3, 5, 4})) << "the part inside the frame";
  EXPECT_EQ(results[1].object, (gst::DetectedObject{"car", static_cast<int>(car.id)}));
}

TEST_F(Analytics, RegionsOfInterestBecomeDetections) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  gst_buffer_add_video_region_of_interest_meta(buffer, "person", 2, 1, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto regions = regions_on(h.pull().get());
  ASSERT_EQ(regions.size(), 1U);
  EXPECT_EQ(regions[0], (Region{regions[0].id, "person", "value-18", {2, 1, 4, 4}}));
}

TEST_F(Analytics, ARegionInBothKindsOfMetaCountsOnce) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  gst_buffer_add_video_region_of_interest_meta(buffer, "person", 2, 1, 4, 4);
  add_od(buffer, "person", 2, 1, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  EXPECT_EQ(gst::results_of(out.get()).size(), 1U);
  const auto regions = regions_on(out.get());
  ASSERT_EQ(regions.size(), 1U);
  EXPECT_EQ(regions[0].label, "value-18");
}

TEST_F(Analytics, TrackedDetectionsAreHeld) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "3"}});
  h.set_caps();
  std::vector<std::string> labels;
  for (int i = 0; i < 4; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    const GstAnalyticsODMtd od = add_od(buffer, "x", i, 0, 4, 4);
    GstAnalyticsTrackingMtd tracking{};
    ASSERT_TRUE(gst_analytics_relation_meta_add_tracking_mtd(od.meta, 42, 0, &tracking));
    gst_analytics_relation_meta_set_relation(od.meta, GST_ANALYTICS_REL_TYPE_RELATE_TO, od.id,
                                             tracking.id);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    const auto regions = regions_on(h.pull().get());
    ASSERT_EQ(regions.size(), 1U);
    labels.push_back(regions[0].label);
  }
  EXPECT_EQ(labels, (std::vector<std::string>{"value-0", "value-0", "value-0", "value-3"}));
  EXPECT_EQ(core_.frames().size(), 2U);
}

TEST_F(Analytics, ObjectClassSelectsDetections) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"object-class", "car"}});
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_od(buffer, "person", 1, 0, 4, 4);
  add_od(buffer, "car", 3, 0, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto regions = regions_on(h.pull().get());
  ASSERT_EQ(regions.size(), 2U);
  EXPECT_EQ(regions[0].label, "");
  EXPECT_EQ(regions[1].label, "value-3");
}

TEST_F(Analytics, ASharedBufferKeepsItsOwn) {
  Harness h({{"model", "m"}});
  h.set_caps();
  const Ptr<GstBuffer> shared(Harness::frame(9, 0));
  ASSERT_EQ(h.push(gst_buffer_ref(shared.get())), GST_FLOW_OK);
  EXPECT_EQ(classes_on(h.pull().get()).size(), 1U);
  EXPECT_TRUE(classes_on(shared.get()).empty());
}

}  // namespace
}  // namespace tome::testing

#endif
