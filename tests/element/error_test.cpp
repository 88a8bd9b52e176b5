// Every failure is one clear error of the right kind, and leaves nothing behind.
#include <atomic>
#include <thread>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using Errors = ElementTest;

/// Too small for any caps here.
GstBuffer* small_buffer() { return gst_buffer_new_allocate(nullptr, 5, nullptr); }

struct StatusCase {
  TomeStatus status;
  GQuark (*domain)();
  gint code;
};

TEST_F(Errors, OfTheCoreKeepTheirTextAndGetTheRightDomain) {
  const std::vector<StatusCase> cases = {
      {TOME_ERROR_NOT_FOUND, gst_resource_error_quark, GST_RESOURCE_ERROR_NOT_FOUND},
      {TOME_ERROR_READ, gst_resource_error_quark, GST_RESOURCE_ERROR_READ},
      {TOME_ERROR_FORMAT, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT},
      {TOME_ERROR_SETTINGS, gst_library_error_quark, GST_LIBRARY_ERROR_SETTINGS},
      {TOME_ERROR_DEVICE, gst_resource_error_quark, GST_RESOURCE_ERROR_FAILED},
      {TOME_ERROR_OUT_OF_MEMORY, gst_resource_error_quark, GST_RESOURCE_ERROR_NO_SPACE_LEFT},
      {TOME_ERROR_FAILED, gst_library_error_quark, GST_LIBRARY_ERROR_FAILED}};
  for (const auto& c : cases) {
    core_.fail_acquire(c.status, "model.safetensors: found 3, expected 4");
    LoneElement h({{"model", "m"}});
    EXPECT_FALSE(h.set_state(GST_STATE_READY));
    GError* error = nullptr;
    EXPECT_EQ(h.error_text(&error), "model.safetensors: found 3, expected 4");
    ASSERT_NE(error, nullptr);
    const Ptr<GError> owned(error);
    EXPECT_EQ(error->domain, c.domain());
    EXPECT_EQ(error->code, c.code);
    EXPECT_EQ(GST_STATE(h.element()), GST_STATE_NULL);
  }
}

TEST_F(Errors, AFailedStartCanBeRepeated) {
  core_.fail_acquire(TOME_ERROR_NOT_FOUND, "no such folder");
  LoneElement h({{"model", "m"}});
  EXPECT_FALSE(h.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(h.error_text(), "no such folder");
  EXPECT_TRUE(h.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(core_.streams(), 1);
}

TEST_F(Errors, AStreamThatCannotOpenFailsInPaused) {
  core_.fail_stream_open(TOME_ERROR_SETTINGS, "clip-stride: found 9, expected at most 4");
  LoneElement h({{"model", "m"}});
  EXPECT_TRUE(h.set_state(GST_STATE_READY));
  EXPECT_FALSE(h.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(h.error_text(), "clip-stride: found 9, expected at most 4");
  EXPECT_EQ(core_.streams(), 0);
}

TEST_F(Errors, ANonsenseSpecFailsInReady) {
  LoneElement h({{"model", "m"}, {"tome-r", "bad"}});
  EXPECT_FALSE(h.set_state(GST_STATE_READY));
  const std::string text = h.error_text();
  EXPECT_TRUE(text.starts_with("tome-r: r schedule 'bad': ")) << text;
  EXPECT_EQ(core_.models(), 0) << "no partial state";
}

TEST_F(Errors, ANonsenseSpecWhilePlayingIsAWarningAndTheOldOneStays) {
  Harness h({{"model", "m"}, {"tome-r", "8"}});
  EXPECT_EQ(core_.schedule(), "8");
  g_object_set(h.element(), "tome-r", "bad spec", nullptr);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_TRUE(text.starts_with("tome-r: r schedule 'bad spec': ")) << text;
  gchar* spec = nullptr;
  g_object_get(h.element(), "tome-r", &spec, nullptr);
  EXPECT_STREQ(Ptr<char>(spec).get(), "8");
  EXPECT_EQ(core_.schedule(), "8");
  g_object_set(h.element(), "tome-r", "16:-1", nullptr);
  EXPECT_EQ(core_.schedule(), "16:-1");
  g_object_set(h.element(), "tome-r", nullptr, nullptr);
  EXPECT_EQ(core_.schedule(), "13") << "unset: the model's default again";
}

TEST_F(Errors, ATextThatIsSetToNullHasItsDefaultAgain) {
  LoneElement h({{"device", "cpu"}, {"model", "m"}});
  for (const char* name : {"device", "model"}) g_object_set(h.element(), name, nullptr, nullptr);
  gchar *device = nullptr, *model = nullptr;
  g_object_get(h.element(), "device", &device, "model", &model, nullptr);
  EXPECT_STREQ(Ptr<char>(device).get(), "auto");
  EXPECT_EQ(Ptr<char>(model).get(), nullptr);
}

TEST_F(Errors, ASpecThatIsSetWhileTheStreamOpensReachesIt) {
  LoneElement h({{"model", "m"}, {"tome-r", "8"}});
  core_.at_stream_open([&] { g_object_set(h.element(), "tome-r", "16:-1", nullptr); });
  ASSERT_TRUE(h.set_state(GST_STATE_PAUSED));
  EXPECT_EQ(core_.schedule(), "16:-1");
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING));
}

TEST_F(Errors, ANonsenseSpecWhileTheStreamOpensIsAWarningAndTheOldOneStays) {
  LoneElement h({{"model", "m"}, {"tome-r", "8"}});
  core_.at_stream_open([&] { g_object_set(h.element(), "tome-r", "bad spec", nullptr); });
  ASSERT_TRUE(h.set_state(GST_STATE_PAUSED));
  EXPECT_TRUE(h.has_message(GST_MESSAGE_WARNING));
  gchar* spec = nullptr;
  g_object_get(h.element(), "tome-r", &spec, nullptr);
  EXPECT_STREQ(Ptr<char>(spec).get(), "8");
  EXPECT_EQ(core_.schedule(), "8");
}

TEST_F(Errors, PropertiesReachTheCore) {
  Harness h({{"model", "dir"},
             {"labels-file", "l.txt"},
             {"device", "cpu"},
             {"precision", "bf16"},
             {"model-instance-id", "a"},
             {"batch-size", "4"},
             {"batch-timeout", "7"},
             {"threads", "2"},
             {"clip-length", "3"},
             {"tome-r", "16:-1"},
             {"tome-prop-attn", "off"},
             {"tome-static", "1.5"},
             {"top-k", "2"},
             {"threshold", "0.25"},
             {"activation", "sigmoid"},
             {"clip-stride", "6"},
             {"frame-stride", "2"},
             {"inference-interval", "5"},
             {"smoothing", "0.5"}});
  EXPECT_EQ(core_.model_config(),
            "model=dir labels=l.txt device=cpu precision=bf16 id=a batch=4 timeout=7 threads=2 "
            "clip=3");
  // Note [Depth in flight]: the most of 2 x 4 + 3 and min(128, 4 windows x 6 frames x 5).
  EXPECT_EQ(core_.stream_config(),
            "name=" + std::string(GST_ELEMENT_NAME(h.element())) +
                " r=16:-1 attn=2 k=2 threshold=0.25 activation=2 clip-stride=6 frame-stride=2 "
                "interval=5 smoothing=0.5 static=1.5 pending=120");
}

struct DepthCase {
  int64_t forward_ms;
  const char *batch, *interval, *clip, *frame_stride;
  int depth;
};

TEST_F(Errors, FramesInFlightAreAsManyAsThereIsAUseFor) {
  // Note [Depth in flight]
  for (const DepthCase& c : {DepthCase{80, "1", "1", "0", "1", 2 + 1},
                             {80, "1", "8", "0", "1", 8},
                             {80, "1", "30", "0", "1", 1 + 80 / 4},  // come during a forward
                             {10, "1", "30", "0", "1", 2 + 1},
                             {900, "1", "30", "0", "1", 30},
                             {900, "1", "4294967295", "0", "1", 32},
                             {10, "2", "30", "0", "1", 2 * 30},  // to fill a batch
                             {10, "8", "30", "0", "1", 128},
                             {10, "1", "1", "4", "8", 4 * 8},  // to fill a window
                             {80, "1", "9", "4", "8", 4 * 8},
                             {10, "1", "9", "4", "1", 2 + 4},
                             {80, "1", "9", "4", "1", 1 + 80 / 4}}) {
    core_.set({.batch_duration = c.forward_ms * 1'000'000});
    Harness h({{"model", "m"},
               {"batch-size", c.batch},
               {"inference-interval", c.interval},
               {"clip-length", c.clip},
               {"frame-stride", c.frame_stride}});
    EXPECT_TRUE(core_.stream_config().ends_with(" pending=" + std::to_string(c.depth)))
        << c.batch << " " << c.interval << " " << c.clip << ": " << core_.stream_config();
  }
}

TEST_F(Errors, PropertiesSetByTwoThreadsAreBothKept) {
  LoneElement h({{"model", "m"}});
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) g_object_set(h.element(), "post-messages", TRUE, nullptr);
  });
  int lost = 0;
  for (guint i = 1; i <= 100000; ++i) {
    guint read = 0;
    g_object_set(h.element(), "top-k", 1 + i % 1000, nullptr);
    g_object_get(h.element(), "top-k", &read, nullptr);
    if (read != 1 + i % 1000) ++lost;
  }
  stop = true;
  other.join();
  EXPECT_EQ(lost, 0);
}

TEST_F(Errors, InTheMiddleStopTheStream) {
  Harness h({{"model", "m"}});
  h.set_caps();
  core_.fail_next_ticket(TOME_ERROR_DEVICE, "the device was lost");
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  GError* error = nullptr;
  EXPECT_EQ(h.error_text(&error), "the device was lost");
  const Ptr<GError> owned(error);
  EXPECT_EQ(error->domain, GST_RESOURCE_ERROR);
  EXPECT_EQ(h.push(1, 1), GST_FLOW_ERROR);
  EXPECT_FALSE(h.push_event(gst_event_new_eos()));
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR)) << "said once";
}

TEST_F(Errors, OfSubmissionReturnToUpstream) {
  Harness h({{"model", "m"}});
  h.set_caps();
  core_.fail_submit(TOME_ERROR_FORMAT, "plane 0: found 3 bytes, expected 4");
  EXPECT_EQ(h.push(1, 0), GST_FLOW_ERROR);
  EXPECT_EQ(h.error_text(), "plane 0: found 3 bytes, expected 4");
}

// A live source that is switched, or one broken frame, must not end a stream: other elements pass
// such buffers too. So what cannot be read is a warning, and an error only where nothing else
// comes.
TEST_F(Errors, ABufferSmallerThanItsCapsPassesWithOneWarning) {
  Harness h({{"model", "m"}});
  h.set_caps();
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  for (int i = 0; i < 2; ++i) ASSERT_EQ(h.push(small_buffer()), GST_FLOW_OK);
  ASSERT_EQ(h.push(4, 3), GST_FLOW_OK);
  EXPECT_EQ(value_on(h.pull().get()), 1);
  for (int i = 0; i < 2; ++i) {
    const auto out = h.pull();
    EXPECT_EQ(gst_buffer_get_size(out.get()), 5U) << "as it came";
    EXPECT_TRUE(gst::results_of(out.get()).empty());
  }
  EXPECT_EQ(value_on(h.pull().get()), 4);
  const std::string text = h.error_text(nullptr, GST_MESSAGE_WARNING);
  EXPECT_NE(text.find("5 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("at least 128 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("16x8"), std::string::npos) << text;
  EXPECT_FALSE(h.has_message(GST_MESSAGE_WARNING)) << "said once";
  guint64 frames = 0;
  EXPECT_TRUE(gst_structure_get_uint64(h.stats().get(), "frames", &frames));
  EXPECT_EQ(frames, 4U);
}

TEST_F(Errors, WhatCannotBeReadIsSaidAgainForNewCapsOrASegment) {
  Harness h({{"model", "m"}});
  const auto warns = [&] {
    EXPECT_EQ(h.push(small_buffer()), GST_FLOW_OK);
    return h.has_message(GST_MESSAGE_WARNING);
  };
  h.set_caps();
  EXPECT_TRUE(warns());
  const Ptr<GstCaps> same(gst_caps_from_string(kGrayCaps));
  h.push_event(gst_event_new_caps(same.get()));
  EXPECT_FALSE(warns()) << "the same caps";
  h.set_caps("video/x-raw,format=GRAY8,width=8,height=16,framerate=10/1");
  EXPECT_TRUE(warns());
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
  EXPECT_TRUE(warns());
}

TEST_F(Errors, AStreamThatGoesOnUnreadableFails) {
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 31; ++i) ASSERT_EQ(h.push(small_buffer()), GST_FLOW_OK) << i;
  ASSERT_EQ(h.push(1, 0), GST_FLOW_OK);
  for (int i = 0; i < 31; ++i) ASSERT_EQ(h.push(small_buffer()), GST_FLOW_OK) << i;
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
  EXPECT_EQ(h.push(small_buffer()), GST_FLOW_ERROR);
  GError* error = nullptr;
  const std::string text = h.error_text(&error);
  const Ptr<GError> owned(error);
  EXPECT_EQ(error->domain, GST_STREAM_ERROR);
  EXPECT_EQ(error->code, GST_STREAM_ERROR_FORMAT);
  EXPECT_NE(text.find("5 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("32 frames in a row"), std::string::npos) << text;
}

TEST_F(Errors, AStreamThatEndsBeforeAnyFrameCouldBeReadFails) {
  for (const bool one_is_good : {false, true}) {
    Harness h({{"model", "m"}});
    h.set_caps();
    if (one_is_good) {
      EXPECT_EQ(h.push(1, 0), GST_FLOW_OK);
    }
    for (int i = 0; i < 3; ++i) ASSERT_EQ(h.push(small_buffer()), GST_FLOW_OK);
    EXPECT_TRUE(h.push_event(gst_event_new_eos()));
    if (one_is_good) {
      EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
    } else {
      EXPECT_NE(h.error_text().find("found 3"), std::string::npos);
    }
  }
}

TEST_F(Errors, AnEmptyBufferPassesWithAWarning) {
  Harness h({{"model", "m"}});
  h.set_caps();
  EXPECT_EQ(h.push(gst_buffer_new()), GST_FLOW_OK);
  EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING).find("0 bytes"), std::string::npos);
}

TEST_F(Errors, EmptyBuffersThatSayGapNeverEndAStream) {
  Harness h({{"model", "m"}});
  h.set_caps();
  for (int i = 0; i < 40; ++i) {
    GstBuffer* gap = gst_buffer_new();
    GST_BUFFER_FLAG_SET(gap, GST_BUFFER_FLAG_GAP);
    ASSERT_EQ(h.push(gap), GST_FLOW_OK);
  }
  EXPECT_TRUE(h.push_event(gst_event_new_eos()));
  EXPECT_TRUE(h.has_message(GST_MESSAGE_WARNING));
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
}

TEST_F(Errors, AVideoMetaThatContradictsTheCapsSaysSo) {
  Harness h({{"model", "m"}});
  h.set_caps();
  GstBuffer* buffer = Harness::frame(1, 0);
  gst_buffer_add_video_meta(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_GRAY8, 4, 4);
  EXPECT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING).find("4x4"), std::string::npos);
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(Errors, AVideoMetaThatPointsOutsideTheBufferReadsNothing) {
  Harness h({{"model", "m"}});
  h.set_caps();
  GstBuffer* buffer = Harness::frame(1, 0);
  gsize offsets[4] = {1000, 0, 0, 0};
  gint strides[4] = {16, 0, 0, 0};
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_GRAY8, 16, 8,
                                 1, offsets, strides);
  EXPECT_EQ(h.push(buffer), GST_FLOW_OK);
  EXPECT_NE(h.error_text(nullptr, GST_MESSAGE_WARNING), "");
  EXPECT_TRUE(core_.frames().empty());
}

TEST_F(Errors, RegionsWithClipsFailInPaused) {
  core_.set({.clip_length = 4});
  LoneElement h({{"model", "m"}, {"inference-region", "roi-list"}});
  EXPECT_FALSE(h.set_state(GST_STATE_PAUSED));
  EXPECT_NE(h.error_text().find("clip-length"), std::string::npos);
}

}  // namespace
}  // namespace tome::testing
