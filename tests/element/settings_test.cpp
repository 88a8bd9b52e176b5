// When a property counts, and what is said where it does not.
#include <locale>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Settings = ElementTest;

TEST_F(Settings, ThatCountAtOnceReachTheStreamThatIsOpen) {
  Harness h({{"model", "m"}});
  EXPECT_EQ(core_.adjustment(), "");
  g_object_set(h.element(), "top-k", 3, nullptr);
  EXPECT_EQ(core_.adjustment(), "k=3 threshold=0 interval=1");
  g_object_set(h.element(), "threshold", 0.5, nullptr);
  EXPECT_EQ(core_.adjustment(), "k=3 threshold=0.5 interval=1");
  g_object_set(h.element(), "inference-interval", 5, nullptr);
  EXPECT_EQ(core_.adjustment(), "k=3 threshold=0.5 interval=5");
  g_object_set(h.element(), "tome-r", "8", "late-policy", 1, "post-messages", TRUE, nullptr);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
  guint top_k = 0;
  g_object_get(h.element(), "top-k", &top_k, nullptr);
  EXPECT_EQ(top_k, 3U);
}

TEST_F(Settings, SayThatTheyCountAtOnce) {
  const LoneElement e;
  for (const char* name : {"inference-interval", "threshold", "top-k", "tome-r", "smoothing"}) {
    const auto* spec = g_object_class_find_property(G_OBJECT_GET_CLASS(e.element()), name);
    EXPECT_EQ((spec->flags & GST_PARAM_MUTABLE_PLAYING) != 0, std::string(name) != "smoothing");
  }
}

TEST_F(Settings, ThatAreSetWhileTheStreamOpensReachIt) {
  LoneElement e({{"model", "m"}});
  core_.at_stream_open([&] { g_object_set(e.element(), "inference-interval", 4, nullptr); });
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(core_.adjustment(), "k=5 threshold=0 interval=4");
}

TEST_F(Settings, AnIntervalCountsFromTheLastDueFrame) {
  Harness h({{"model", "m"}, {"inference-interval", "3"}});
  h.set_caps();
  std::vector<unsigned> ages;
  for (int i = 0; i < 8; ++i) {
    if (i == 4) g_object_set(h.element(), "inference-interval", 2, nullptr);
    ASSERT_EQ(h.push(1, i), GST_FLOW_OK);
    ages.push_back(gst::results_of(h.pull().get()).at(0).age);
  }
  EXPECT_EQ(ages, (std::vector<unsigned>{0, 1, 2, 0, 1, 0, 1, 0})) << "0, 3, then 5, 7";
}

TEST_F(Settings, RegionsFollowAnIntervalThatChanges) {
  Harness h({{"model", "m"},
             {"inference-region", "roi-list"},
             {"inference-interval", "3"},
             {"reclassify-interval", "0"},
             {"batch-size", "8"}});
  h.set_caps();
  core_.close_gate();
  for (int i = 0; i < 8; ++i) {
    if (i == 4) g_object_set(h.element(), "inference-interval", 2, nullptr);
    GstBuffer* buffer = numbered_frame(i);
    // The second object comes between the due frames 5 and 7, while all are in flight.
    gst_buffer_add_video_region_of_interest_meta(buffer, "x", 1, 0, 4, 4)->id = i < 6 ? 7 : 8;
    ASSERT_EQ(h.push(buffer), GST_FLOW_OK);
  }
  core_.open_gate();
  std::vector<int> ages;
  for (int i = 0; i < 8; ++i) {
    const auto results = gst::results_of(h.pull().get());
    ages.push_back(results.empty() ? -1 : static_cast<int>(results[0].age));
  }
  EXPECT_EQ(ages, (std::vector<int>{0, 1, 2, 3, 4, 5, -1, 0}));
}

TEST_F(Settings, ThatCountFromTheNextStartAreToldOnTheBusOnceEach) {
  Harness h({{"model", "m"}});
  for (const char* name : {"batch-size", "frame-stride"}) {
    gst_util_set_object_arg(G_OBJECT(h.element()), name, "2");
    GError* error = nullptr;
    const std::string text = h.error_text(&error, GST_MESSAGE_WARNING);
    ASSERT_NE(error, nullptr) << name;
    const Ptr<GError> owned(error);
    EXPECT_TRUE(g_error_matches(error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS));
    EXPECT_TRUE(text.starts_with(name)) << text;
    EXPECT_NE(text.find("READY"), std::string::npos) << text;
    gst_util_set_object_arg(G_OBJECT(h.element()), name, "3");
    EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING)) << "said once";
  }
  ASSERT_TRUE(h.set_state(GST_STATE_READY));
  g_object_set(h.element(), "clip-length", 3, nullptr);
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING)) << "counts from the next start, as said";
}

TEST_F(Settings, ThatAreSetToWhatTheyAreAreNotTold) {
  for (const bool publishes : {false, true}) {
    LoneElement e({}, publishes ? "tomepublish" : "tomeclassify");
    const char* text = publishes ? "stream" : "object-class";
    const char* number = publishes ? "drain-timeout" : "batch-timeout";
    const char* choice = publishes ? "method" : "activation";
    g_object_set(e.element(), text, "a", nullptr);
    if (!publishes) g_object_set(e.element(), "model", "m", "inference-region", 1, nullptr);
    ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
    g_object_set(e.element(), text, "a", number, publishes ? 5000 : 5, choice, 0, nullptr);
    EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING)) << text;
    g_object_set(e.element(), text, "b", nullptr);
    EXPECT_TRUE(e.error_text(nullptr, GST_MESSAGE_WARNING).starts_with(text));
  }
}

TEST_F(Settings, ThatAreLateAgainAfterAStartAreToldAgain) {
  for (const bool publishes : {false, true}) {
    LoneElement e({}, publishes ? "tomepublish" : "tomeclassify");
    if (!publishes) g_object_set(e.element(), "model", "m", nullptr);
    const auto set = [&](int value) {
      gst_util_set_object_arg(G_OBJECT(e.element()), publishes ? "stream" : "batch-size",
                              std::to_string(value).c_str());
    };
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
      EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING));
      set(10 + i);
      EXPECT_TRUE(e.has_message(GST_MESSAGE_WARNING)) << publishes << ", run " << i;
      ASSERT_TRUE(e.set_state(i == 0 ? GST_STATE_READY : GST_STATE_NULL));
      set(20 + i);
      EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING)) << "in time for the next start";
    }
  }
}

TEST_F(Settings, ThatComeTooLateForTheStreamThatOpensAreTold) {
  LoneElement e({{"model", "m"}});
  core_.at_stream_open(
      [&] { g_object_set(e.element(), "batch-size", 4, "clip-stride", 0, "top-k", 3, nullptr); });
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  EXPECT_TRUE(e.error_text(nullptr, GST_MESSAGE_WARNING).starts_with("batch-size"));
  EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING)) << "clip-stride is as it was, top-k counts";
}

TEST_F(Settings, OfTwoThatTheCoreRefusesTheFirstIsTold) {
  LoneElement e({{"model", "m"}, {"tome-r", "8"}});
  core_.fail_adjust(TOME_ERROR_SETTINGS, "top-k: found 3, expected none of it");
  core_.at_stream_open([&] { g_object_set(e.element(), "tome-r", "bad", "top-k", 3, nullptr); });
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  EXPECT_NE(e.error_text(nullptr, GST_MESSAGE_WARNING).find("'bad'"), std::string::npos);
  gchar* spec = nullptr;
  guint top_k = 0;
  g_object_get(e.element(), "tome-r", &spec, "top-k", &top_k, nullptr);
  EXPECT_STREQ(Ptr<char>(spec).get(), "8");
  EXPECT_EQ(top_k, 5U) << "both as before";
}

struct IgnoredCase {
  LoneElement::Properties properties;
  uint32_t clip_length;
  const char *name, *other;  ///< what the warning has to name; null: there is none
};

TEST_F(Settings, ThatCannotApplyAreToldAtTheStart) {
  using List = LoneElement::Properties;
  const List defaults = {};
  const List type = {{"object-class", "person"}};
  const List type_of_regions = {{"object-class", "person"}, {"inference-region", "roi-list"}};
  const List reclassify = {{"reclassify-interval", "0"}};
  const List reclassify_regions = {{"reclassify-interval", "0"}, {"inference-region", "roi-list"}};
  const List smooth = {{"smoothing", "0.5"}};
  const List smooth_regions = {{"smoothing", "0.5"}, {"inference-region", "roi-list"}};
  const List clip_stride = {{"clip-stride", "2"}};
  const List frame_stride = {{"frame-stride", "2"}};
  const List still = {{"tome-static", "0"}};
  const List moving = {{"tome-static", "-0.5"}};
  for (const IgnoredCase& c : {IgnoredCase{defaults, 1, nullptr, nullptr},
                               {type, 1, "object-class=person", "inference-region=full-frame"},
                               {type_of_regions, 1, nullptr, nullptr},
                               {reclassify, 1, "reclassify-interval=0", "inference-region"},
                               {reclassify_regions, 1, nullptr, nullptr},
                               {smooth, 1, nullptr, nullptr},
                               {smooth_regions, 1, "smoothing=0.5", "inference-region=roi-list"},
                               {clip_stride, 1, "clip-stride=2", "clip-length of 1"},
                               {clip_stride, 4, nullptr, nullptr},
                               {frame_stride, 1, "frame-stride=2", "clip-length of 1"},
                               {frame_stride, 4, nullptr, nullptr},
                               {still, 1, "tome-static=0", "clip-length of 1"},
                               {still, 4, nullptr, nullptr},
                               {moving, 1, nullptr, nullptr}}) {
    core_.set({.clip_length = c.clip_length});
    LoneElement e(c.properties);
    g_object_set(e.element(), "model", "m", nullptr);
    ASSERT_TRUE(e.set_state(GST_STATE_READY));
    EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING)) << "may be set still";
    ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
    if (c.name != nullptr) {
      GError* error = nullptr;
      const std::string text = e.error_text(&error, GST_MESSAGE_WARNING);
      ASSERT_NE(error, nullptr) << c.name;
      const Ptr<GError> owned(error);
      EXPECT_TRUE(g_error_matches(error, GST_LIBRARY_ERROR, GST_LIBRARY_ERROR_SETTINGS));
      EXPECT_NE(text.find(c.name), std::string::npos) << text;
      EXPECT_NE(text.find(c.other), std::string::npos) << text;
    }
    EXPECT_FALSE(e.has_message(GST_MESSAGE_WARNING));
  }
}

/// Writes numbers as 1.000,5.
struct Commas : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST_F(Settings, ThatCannotApplyAreToldInPlainText) {
  const std::locale before =
      std::locale::global(std::locale(std::locale(), std::make_unique<Commas>().release()));
  LoneElement e(
      {{"model", "m"}, {"object-class", "\x1b[31mcat\nline"}, {"reclassify-interval", "1000"}});
  const bool started = e.set_state(GST_STATE_PAUSED);
  std::locale::global(before);
  ASSERT_TRUE(started);
  EXPECT_TRUE(e.error_text(nullptr, GST_MESSAGE_WARNING).starts_with("object-class= [31mcat line "))
      << "a terminal does not obey it";
  EXPECT_TRUE(e.error_text(nullptr, GST_MESSAGE_WARNING).starts_with("reclassify-interval=1000 "));
}

TEST_F(Settings, ThatWereChosenAreInStatsWhileTheModelIsOpen) {
  core_.set({.device = "cuda:1", .takes_cuda_frames = false});
  LoneElement e({{"model", "m"}});
  const auto stats = [&] {
    GstStructure* all = nullptr;
    g_object_get(e.element(), "stats", &all, nullptr);
    return Ptr<GstStructure>(all);
  };
  EXPECT_FALSE(gst_structure_has_field(stats().get(), "device")) << "not chosen yet";
  ASSERT_TRUE(e.set_state(GST_STATE_READY));
  const auto chosen = stats();
  EXPECT_STREQ(gst_structure_get_string(chosen.get(), "device"), "cuda:1");
  EXPECT_STREQ(gst_structure_get_string(chosen.get(), "precision"), "fp32");
  g_object_set(e.element(), "tome-r", "bad", nullptr);
  EXPECT_FALSE(e.set_state(GST_STATE_PAUSED));
  EXPECT_TRUE(gst_structure_has_field(stats().get(), "device")) << "that model stays open";
  g_object_set(e.element(), "tome-r", nullptr, "model", "other", nullptr);
  core_.fail_acquire(TOME_ERROR_NOT_FOUND, "no such folder");
  EXPECT_FALSE(e.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(core_.models(), 0);
  EXPECT_FALSE(gst_structure_has_field(stats().get(), "device")) << "none is open";
  ASSERT_TRUE(e.set_state(GST_STATE_PAUSED));
  EXPECT_STREQ(gst_structure_get_string(stats().get(), "device"), "cuda:1");
  ASSERT_TRUE(e.set_state(GST_STATE_NULL));
  EXPECT_FALSE(gst_structure_has_field(stats().get(), "device")) << "closed";
}

}  // namespace
}  // namespace tome::testing
