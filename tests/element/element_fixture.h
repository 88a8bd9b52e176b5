// tomeclassify on the fake core, in a GstHarness.
#pragma once

#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "classification_meta.h"
#include "fake_core.h"
#include "gst_ptr.h"

namespace tome::testing {

using gst::Classification;
using gst::Ptr;

inline constexpr const char* kGrayCaps =
    "video/x-raw,format=GRAY8,width=16,height=8,framerate=10/1";
inline constexpr GstClockTime kFrame = 100 * GST_MSECOND;

/// What passed a pad, in order: "buffer 3", "event tag", "query custom" and so on.
class PadLog {
 public:
  explicit PadLog(GstPad* pad);
  ~PadLog();
  PadLog(const PadLog&) = delete;
  PadLog& operator=(const PadLog&) = delete;

  std::vector<std::string> entries() const;
  void clear();

 private:
  static GstPadProbeReturn note(GstPad* pad, GstPadProbeInfo* info, gpointer self);

  GstPad* pad_;
  gulong probe_;
  mutable std::mutex mutex_;
  std::vector<std::string> entries_;
};

/// An element of its own, in state NULL, whose messages can be read.
class LoneElement {
 public:
  using Properties = std::initializer_list<std::pair<const char*, const char*>>;

  /// Makes the element and sets `properties` as gst-launch would.
  explicit LoneElement(Properties properties = {}, const char* factory = "tomeclassify");
  ~LoneElement();
  LoneElement(const LoneElement&) = delete;
  LoneElement& operator=(const LoneElement&) = delete;

  GstElement* element() const { return element_.get(); }
  bool set_state(GstState state) {
    return gst_element_set_state(element(), state) == GST_STATE_CHANGE_SUCCESS;
  }
  /// Next message of this type from the element; waits up to 5 s, null if none comes.
  Ptr<GstMessage> message(GstMessageType type);
  /// Text and error code of the next error (or warning); "" if none comes.
  std::string error_text(GError** error = nullptr, GstMessageType type = GST_MESSAGE_ERROR);
  bool has_message(GstMessageType type);

 private:
  Ptr<GstElement> element_;
  Ptr<GstBus> bus_;
};

/// An element in a harness of its own, playing.
class Harness : public LoneElement {
 public:
  explicit Harness(Properties properties = {}, const char* factory = "tomeclassify");
  ~Harness();

  GstHarness* get() const { return harness_; }
  GstPad* src() const { return src_.get(); }
  GstPad* sink() const { return sink_.get(); }

  void set_caps(const char* caps = kGrayCaps);
  /// A GRAY8 16x8 frame of one value, with timestamps of frame `number` at 10 frames/s.
  static GstBuffer* frame(uint8_t value, int number);
  GstFlowReturn push(uint8_t value, int number) { return push(frame(value, number)); }
  GstFlowReturn push(GstBuffer* buffer) { return gst_harness_push(harness_, buffer); }
  bool push_event(GstEvent* event) { return gst_harness_push_event(harness_, event) != FALSE; }
  /// The answer to a DRAIN query, which comes when all that was pushed has left.
  gboolean drain() const {
    const Ptr<GstQuery> query(gst_query_new_drain());
    return gst_pad_query(sink_.get(), query.get());
  }
  /// Next buffer out; waits for it.
  Ptr<GstBuffer> pull() { return Ptr<GstBuffer>(gst_harness_pull(harness_)); }
  Ptr<GstStructure> stats() const;

 private:
  GstHarness* harness_ = nullptr;
  Ptr<GstPad> sink_, src_;
};

/// Resets the fake core before each test; afterwards nothing may be left over.
class ElementTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  FakeCore& core_ = FakeCore::instance();
};

/// A 16x8 frame whose pixel at (x, y) is 16 y + x.
GstBuffer* numbered_frame(int number);

/// Plays `line` into a sink to its end, handing each buffer to `at_sink` there. "" at EOS, else the
/// text of the error or warning that came first.
std::string play(const std::string& line, const std::function<void(GstBuffer*)>& at_sink);

/// Ages of the results on the next `n` buffers out; -1 where there is none.
std::vector<int> ages(Harness& h, int n);

/// Whether GStreamer has an element of this name.
bool has_element(const char* name);

/// One tag's id on the only result of a buffer; -1 if there is none.
int64_t value_on(GstBuffer* buffer);

}  // namespace tome::testing
