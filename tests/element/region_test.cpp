// inference-region=roi-list: regions of a detector, classified and tracked.
#include "criticals.h"
#include "element_fixture.h"
#include "logged_warnings.h"

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

/// The results on what comes out for `buffer`.
std::vector<Classification> results_for(Harness& h, GstBuffer* buffer) {
  const bool passed = h.push(buffer) == GST_FLOW_OK;
  EXPECT_TRUE(passed);
  return passed ? gst::results_of(h.pull().get()) : std::vector<Classification>();
}

TEST_F(Regions, EachGetsItsOwnResultInTheMetaAndOnTheRegion) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "person", 2, 1, 4, 4, 5);
  add_roi(buffer, "car", 8, 3, 4, 4);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto out = h.pull();
  const auto results = gst::results_of(out.get());
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].region, (std::array<int, 4>{2, 1, 4, 4}));
  EXPECT_EQ(results[0].tags[0].id, 16 * 1 + 2);
  EXPECT_EQ(results[1].region, (std::array<int, 4>{8, 3, 4, 4}));
  EXPECT_EQ(results[1].tags[0].id, 16 * 3 + 8);
  EXPECT_EQ(results[0].object, (gst::DetectedObject{"person", 5}));
  EXPECT_EQ(results[1].object, (gst::DetectedObject{"car", 0}));
  EXPECT_EQ(results[0].frame_size, (std::array<int, 2>{16, 8}));
  for (const auto& [index, value] : {std::pair{0U, 18}, std::pair{1U, 56}}) {
    const GstStructure* param = param_of(out.get(), index);
    ASSERT_NE(param, nullptr);
    int id = 0;
    EXPECT_TRUE(gst_structure_get_int(param, "label-id", &id));
    EXPECT_EQ(id, value);
    EXPECT_EQ(gst_structure_get_string(param, "label"), "value-" + std::to_string(value));
    EXPECT_STREQ(gst_structure_get_string(param, "region-type"), index == 0 ? "person" : "car");
    EXPECT_STREQ(gst_structure_get_string(param, "element"), GST_ELEMENT_NAME(h.element()));
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
  const auto results = results_for(h, buffer);
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
  const auto results = results_for(h, buffer);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].region, (std::array<int, 4>{10, 5, 6, 3}));
  EXPECT_EQ(results[1].region, (std::array<int, 4>{0, 0, 16, 8}));
}

TEST_F(Regions, AFrameWithoutAnyPassesWithoutInference) {
  Harness h(kRoi);
  h.set_caps();
  EXPECT_TRUE(results_for(h, numbered_frame(0)).empty());
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(Regions, AStreamWithoutAnyIsToldInTheLogAtItsEnd) {
  for (const char* type : {"dog", "person"}) {
    Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"object-class", "person"}});
    const LoggedWarnings logged("tomeclassify");
    h.set_caps();
    for (int i = 0; i < 2; ++i) {
      GstBuffer* buffer = numbered_frame(i);
      if (i == 0) add_roi(buffer, type, 1, 0, 4, 4);
      ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
    }
    EXPECT_EQ(logged.text(), "");
    h.push_event(gst_event_new_eos());
    const bool told = logged.text().find("a region of object-class=person") != std::string::npos;
    EXPECT_EQ(told, std::string(type) == "dog") << logged.text();
  }
}

TEST_F(Regions, ThousandsAreOneTicket) {
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  for (guint i = 0; i < 5000; ++i) add_roi(buffer, "x", i % 12, i % 6, 2, 2, static_cast<int>(i));
  const auto results = results_for(h, buffer);
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
    const auto results = results_for(h, buffer);
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
    EXPECT_EQ(results_for(h, buffer).size(), i >= 3 ? 2U : 1U);
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
    counts.push_back(results_for(h, buffer).size());
  }
  EXPECT_EQ(counts, (std::vector<size_t>{1, 0, 1}));
}

TEST_F(Regions, ADiscontinuityTakesNothingFromTheFramesBeforeIt) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"reclassify-interval", "10"},
             {"batch-size", "2"}});
  h.set_caps();
  // All are planned before the first has its result.
  core_.close_gate();
  for (int i = 0; i < 4; ++i) {
    GstBuffer* buffer = numbered_frame(i < 2 ? i : i + 50);
    add_roi(buffer, "x", static_cast<guint>(i), 0, 4, 4, i < 2 ? 7 : 8);
    if (i == 2) GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  core_.open_gate();
  std::vector<std::pair<int, int>> seen;  // value, age
  for (int i = 0; i < 4; ++i) {
    const auto results = gst::results_of(h.pull().get());
    ASSERT_EQ(results.size(), 1U) << i;
    seen.emplace_back(static_cast<int>(results[0].tags[0].id), results[0].age);
  }
  EXPECT_EQ(seen, (std::vector<std::pair<int, int>>{{0, 0}, {0, 1}, {2, 0}, {2, 1}}));
}

TEST_F(Regions, WhatComesLateIsNotHeldBehindADiscontinuity) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"reclassify-interval", "10"},
             {"inference-interval", "2"},
             {"batch-size", "2"}});
  h.set_caps();
  core_.close_gate();
  for (int i = 0; i < 3; ++i) {
    GstBuffer* buffer = numbered_frame(i < 1 ? i : i + 50);
    add_roi(buffer, "x", static_cast<guint>(i), 0, 4, 4, 7);
    if (i == 1) GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  core_.open_gate();
  EXPECT_EQ(ages(h, 3), (std::vector<int>{0, -1, 0}));
}

/// Lets the first buffer fail with EOS.
GstPadProbeReturn end_at_first(GstPad* pad, GstPadProbeInfo* info, gpointer) {
  gst_buffer_unref(GST_PAD_PROBE_INFO_BUFFER(info));
  GST_PAD_PROBE_INFO_DATA(info) = nullptr;
  GST_PAD_PROBE_INFO_FLOW_RETURN(info) = GST_FLOW_EOS;
  gst_pad_remove_probe(pad, GST_PAD_PROBE_INFO_ID(info));
  return GST_PAD_PROBE_HANDLED;
}

TEST_F(Regions, WhatDownstreamEndedHoldsForNoFrameInFlight) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"reclassify-interval", "0"},
             {"batch-size", "2"}});
  h.set_caps();
  gst_pad_add_probe(h.src(), GST_PAD_PROBE_TYPE_BUFFER, end_at_first, nullptr, nullptr);
  const auto tracked = [](int number) {
    GstBuffer* buffer = numbered_frame(number);
    add_roi(buffer, "x", static_cast<guint>(number), 0, 4, 4, 7);
    return buffer;
  };
  core_.close_gate();
  ASSERT_EQ(h.push(tracked(0)), GST_FLOW_OK);
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
  ASSERT_EQ(h.push(tracked(1)), GST_FLOW_OK);
  core_.open_gate();
  EXPECT_EQ(ages(h, 1), (std::vector<int>{-1}));
  ASSERT_EQ(h.push(tracked(2)), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 2);
}

TEST_F(Regions, BetweenDueFramesTrackedOnesCarryTheirLastResult) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"inference-interval", "3"}});
  h.set_caps();
  std::vector<std::vector<std::pair<int, int>>> seen;  // of each frame: value, age
  for (int i = 0; i < 5; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    add_roi(buffer, "x", static_cast<guint>(i), 0, 4, 4, 7);
    add_roi(buffer, "x", 8, 0, 4, 4);  // has no id
    seen.emplace_back();
    for (const auto& one : results_for(h, buffer)) {
      seen.back().emplace_back(static_cast<int>(one.tags[0].id), one.age);
    }
  }
  const std::vector<std::vector<std::pair<int, int>>> expected{
      {{0, 0}, {8, 0}}, {{0, 1}}, {{0, 2}}, {{3, 0}, {8, 0}}, {{3, 1}}};
  EXPECT_EQ(seen, expected);
}

TEST_F(Regions, FramesWithoutAnyCountForTheInterval) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"inference-interval", "3"}});
  h.set_caps();
  for (int i = 0; i < 7; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    if (i != 0 && i != 4) add_roi(buffer, "x", 1, 0, 4, 4);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  EXPECT_EQ(ages(h, 7), (std::vector<int>{-1, -1, -1, 0, -1, -1, 0})) << "0, 3 and 6 are due";
  EXPECT_FALSE(h.has_message(GST_MESSAGE_QOS)) << "nothing was late";
  guint64 skipped = 1;
  EXPECT_TRUE(gst_structure_get_uint64(h.stats().get(), "skipped", &skipped));
  EXPECT_EQ(skipped, 0U);
}

TEST_F(Regions, OfTheTwoIntervalsBothHoldWhateverIsInFlight) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"inference-interval", "3"},
             {"reclassify-interval", "0"},
             {"batch-size", "4"}});
  h.set_caps();
  core_.close_gate();
  for (int i = 0; i < 7; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    // Comes between due frames, and all are planned before the first is resolved.
    add_roi(buffer, "x", static_cast<guint>(i), 0, 4, 4, i < 2 ? 7 : 8);
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  core_.open_gate();
  EXPECT_EQ(ages(h, 7), (std::vector<int>{0, 1, -1, 0, 1, 2, 3}));
}

TEST_F(Regions, AHeldResultSpeaksOfTheObjectAsItIsNow) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"reclassify-interval", "0"}});
  h.set_caps();
  for (int i = 0; i < 2; ++i) {
    GstBuffer* buffer = numbered_frame(i);
    // The detector counts its regions anew and changes its mind; the tracker knows better.
    const char* type = i == 0 ? "car" : "van";
    auto* roi = add_roi(buffer, type, 1, 0, 4, 4, 10 + i);
    gst_video_region_of_interest_meta_add_param(
        roi, gst_structure_new("object_id", "id", G_TYPE_INT, 42, nullptr));
    const auto results = results_for(h, buffer);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(results[0].age, static_cast<unsigned>(i));
    EXPECT_EQ(results[0].object, (gst::DetectedObject{type, 42}));
  }
}

TEST_F(Regions, ATypeThatIsNoUtf8IsMadeValid) {
  const Criticals told;
  Harness h(kRoi);
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "p\xff\xfe", 2, 1, 4, 4, 5);
  const auto results = results_for(h, buffer);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].object, (gst::DetectedObject{"p\ufffd\ufffd", 5}));
  EXPECT_EQ(told.warnings(), 0);
}

TEST_F(Regions, MessagesNameTheObject) {
  Harness h({{"model", "m"}, {"inference-region", "roi-list"}, {"post-messages", "true"}});
  h.set_caps();
  GstBuffer* buffer = numbered_frame(0);
  add_roi(buffer, "person", 2, 1, 4, 4, 5);
  ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  const auto message = h.message(GST_MESSAGE_ELEMENT);
  ASSERT_NE(message, nullptr);
  const auto results = gst::results_of(gst_message_get_structure(message.get()));
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].object, (gst::DetectedObject{"person", 5}));
  EXPECT_EQ(results[0].element, GST_ELEMENT_NAME(h.element()));
}

}  // namespace
}  // namespace tome::testing
