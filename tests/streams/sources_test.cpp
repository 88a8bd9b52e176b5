// Sources that come and go while others run, and files that start over: no stall, no leak.
#include <gst/gst.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>

#include "element_fixture.h"

namespace tome::testing {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

const std::string kClassify =
    "tomeclassify model=1ms model-instance-id=one batch-size=4 top-k=1 ! fakesink name=out "
    "sync=false ";

int64_t resident_kib() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE) / 1024;
}

/// Counts what reaches the element "out" of a bin, and how long it waited for the next buffer.
class Arrivals {
 public:
  explicit Arrivals(GstElement* bin) {
    const Ptr<GstElement> out(gst_bin_get_by_name(GST_BIN(bin), "out"));
    pad_.reset(gst_element_get_static_pad(out.get(), "sink"));
    probe_ = gst_pad_add_probe(pad_.get(),
                               static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BUFFER |
                                                            GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM),
                               &Arrivals::note, this, nullptr);
  }
  ~Arrivals() { gst_pad_remove_probe(pad_.get(), probe_); }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  bool wait_for_buffers(int n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return buffers_ >= n; });
  }
  bool wait_for_eos() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return eos_; });
  }
  int buffers() {
    const std::scoped_lock lock(mutex_);
    return buffers_;
  }
  int without_result() {
    const std::scoped_lock lock(mutex_);
    return without_result_;
  }
  milliseconds longest_gap() {
    const std::scoped_lock lock(mutex_);
    return std::chrono::duration_cast<milliseconds>(longest_gap_);
  }

 private:
  static GstPadProbeReturn note(GstPad*, GstPadProbeInfo* info, gpointer data) {
    auto* self = static_cast<Arrivals*>(data);
    const std::scoped_lock lock(self->mutex_);
    if ((info->type & GST_PAD_PROBE_TYPE_BUFFER) != 0) {
      const auto now = SteadyClock::now();
      if (self->buffers_++ > 0)
        self->longest_gap_ = std::max(self->longest_gap_, now - self->last_);
      self->last_ = now;
      if (value_on(GST_PAD_PROBE_INFO_BUFFER(info)) < 0) ++self->without_result_;
    } else if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS) {
      self->eos_ = true;
    }
    self->changed_.notify_all();
    return GST_PAD_PROBE_OK;
  }

  Ptr<GstPad> pad_;
  gulong probe_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  int buffers_ = 0, without_result_ = 0;
  bool eos_ = false;
  SteadyClock::time_point last_;
  SteadyClock::duration longest_gap_{};
};

/// A pipeline; where nobody reads the messages, an error fails the test.
class Pipeline {
 public:
  explicit Pipeline(const std::string& line, bool read_messages = false) {
    GError* error = nullptr;
    pipeline_.reset(gst_parse_launch(line.c_str(), &error));
    if (error != nullptr) throw std::runtime_error(error->message);
    bus_.reset(gst_element_get_bus(pipeline_.get()));
    if (read_messages) return;
    gst_bus_set_sync_handler(
        bus_.get(),
        [](GstBus*, GstMessage* message, gpointer) {
          if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            GError* error = nullptr;
            gst_message_parse_error(message, &error, nullptr);
            ADD_FAILURE() << error->message;
            g_error_free(error);
          }
          gst_message_unref(message);
          return GST_BUS_DROP;
        },
        nullptr, nullptr);
  }
  ~Pipeline() { gst_element_set_state(get(), GST_STATE_NULL); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  GstElement* get() const { return pipeline_.get(); }
  GstBus* bus() const { return bus_.get(); }

 private:
  Ptr<GstElement> pipeline_;
  Ptr<GstBus> bus_;
};

void flush(GstElement* branch) {
  const Ptr<GstElement> in(gst_bin_get_by_name(GST_BIN(branch), "in"));
  ASSERT_TRUE(gst_element_seek_simple(in.get(), GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
}

void change_caps(GstElement* branch) {
  const Ptr<GstElement> filter(gst_bin_get_by_name(GST_BIN(branch), "caps"));
  gst_util_set_object_arg(G_OBJECT(filter.get()), "caps",
                          "video/x-raw,format=I420,width=48,height=64");
}

// A sink that prerolls would take the whole pipeline through a state change of its own, in a thread
// of GStreamer's that can deadlock with the one that removes the branch (1.22): hence async=false.
/// Adds a branch to the running pipeline, lets it work, and takes it away in one of four ways.
void come_and_go(GstBin* pipeline, int number) {
  static constexpr const char* kFormats[] = {"GRAY8", "NV12", "RGB", "YUY2", "BGRx"};
  const std::string line =
      "videotestsrc name=in ! capsfilter name=caps caps=video/x-raw,framerate=25/1,format=" +
      std::string(kFormats[number % 5]) + ",width=" + std::to_string(32 + number % 7 * 16) +
      ",height=48 ! " + kClassify + "async=false";
  GstElement* branch = gst_parse_bin_from_description(line.c_str(), FALSE, nullptr);
  ASSERT_NE(branch, nullptr);
  Arrivals arrivals(branch);
  ASSERT_TRUE(gst_bin_add(pipeline, branch));
  ASSERT_TRUE(gst_element_sync_state_with_parent(branch));
  ASSERT_TRUE(arrivals.wait_for_buffers(3)) << "source " << number;
  switch (number % 4) {
    case 0:
      break;
    case 1:
      gst_element_send_event(branch, gst_event_new_eos());
      ASSERT_TRUE(arrivals.wait_for_eos()) << "source " << number;
      break;
    case 2:
      flush(branch);
      // Where a sink goes while the segment after a flush is under way to it, the source reports an
      // error (1.22, whatever lies between: with identity too).
      ASSERT_TRUE(arrivals.wait_for_buffers(arrivals.buffers() + 1)) << "source " << number;
      break;
    default:
      change_caps(branch);
      ASSERT_TRUE(arrivals.wait_for_buffers(arrivals.buffers() + 12)) << "source " << number;
      break;
  }
  ASSERT_EQ(gst_element_set_state(branch, GST_STATE_NULL), GST_STATE_CHANGE_SUCCESS);
  ASSERT_TRUE(gst_bin_remove(pipeline, branch));
}

TEST(Sources, AThousandChangesLeaveMemoryFlatAndTheOthersRunning) {
  Pipeline camera(
      "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=48,framerate=50/1 ! " +
      kClassify);
  // Another one, for a flushing seek in a branch sets back the time of its whole pipeline.
  Pipeline pipeline("videotestsrc is-live=true ! fakesink");
  Arrivals steady(camera.get());
  gst_element_set_state(camera.get(), GST_STATE_PLAYING);
  gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
  ASSERT_TRUE(steady.wait_for_buffers(5));
  int64_t after_100 = 0;
  for (int i = 1; i <= 1000; ++i) {
    come_and_go(GST_BIN(pipeline.get()), i);
    if (HasFatalFailure()) return;
    if (i == 100) after_100 = resident_kib();
  }
  const int64_t after_1000 = resident_kib();
  std::cout << "resident: " << after_100 << " KiB after 100 changes, " << after_1000
            << " KiB after 1,000; longest gap of the stream beside them "
            << steady.longest_gap().count() << " ms\n";
  EXPECT_LE(static_cast<double>(after_1000), 1.02 * static_cast<double>(after_100));
  EXPECT_LE(steady.longest_gap(), milliseconds(1000));
  EXPECT_EQ(steady.without_result(), 0);
}

/// A short film of 20 frames, removed at the end.
class Film {
 public:
  Film()
      : path_(std::filesystem::temp_directory_path() /
              ("tome-" + std::to_string(getpid()) + ".avi")) {
    Pipeline pipeline(
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=64,height=48,framerate=25/1 ! "
        "jpegenc ! avimux ! filesink location=" +
            path_.string(),
        true);
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
    const Ptr<GstMessage> end(gst_bus_timed_pop_filtered(
        pipeline.bus(), 20 * GST_SECOND,
        static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR)));
    made_ = end && GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_EOS;
  }
  ~Film() { std::filesystem::remove(path_); }
  Film(const Film&) = delete;
  Film& operator=(const Film&) = delete;
  bool made() const { return made_; }
  std::string source() const {
    return "filesrc location=" + path_.string() + " ! avidemux ! jpegdec ! ";
  }

 private:
  std::filesystem::path path_;
  bool made_ = false;
};

/// Plays a film `loops` times; `flags` are those of the seek back to its start.
void play_in_a_loop(int loops, GstSeekFlags flags, GstMessageType end) {
  const Film film;
  ASSERT_TRUE(film.made());
  Pipeline pipeline(film.source() + kClassify, true);
  Arrivals arrivals(pipeline.get());
  gst_element_set_state(pipeline.get(), GST_STATE_PAUSED);
  ASSERT_EQ(gst_element_get_state(pipeline.get(), nullptr, nullptr, 20 * GST_SECOND),
            GST_STATE_CHANGE_SUCCESS);
  const int before = arrivals.buffers();  // of the preroll, which the first seek repeats
  const auto first = static_cast<GstSeekFlags>(flags | GST_SEEK_FLAG_FLUSH);
  ASSERT_TRUE(gst_element_seek_simple(pipeline.get(), GST_FORMAT_TIME, first, 0));
  gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
  for (int i = 1; i <= loops; ++i) {
    const Ptr<GstMessage> message(gst_bus_timed_pop_filtered(
        pipeline.bus(), 20 * GST_SECOND, static_cast<GstMessageType>(end | GST_MESSAGE_ERROR)));
    ASSERT_NE(message, nullptr) << "loop " << i;
    ASSERT_EQ(GST_MESSAGE_TYPE(message.get()), end) << "loop " << i;
    if (i < loops) {
      ASSERT_TRUE(gst_element_seek_simple(pipeline.get(), GST_FORMAT_TIME, flags, 0));
    }
  }
  // A demuxer says that its segment is done when its last frame has left it, not the pipeline.
  EXPECT_TRUE(arrivals.wait_for_buffers(20 * loops)) << arrivals.buffers();
  EXPECT_LE(arrivals.buffers(), 20 * loops + before);
  EXPECT_EQ(arrivals.without_result(), 0);
}

TEST(Sources, AFileThatStartsOverByAFlushingSeek) {
  play_in_a_loop(15, GST_SEEK_FLAG_FLUSH, GST_MESSAGE_EOS);
}

TEST(Sources, AFileThatStartsOverBySegmentsWithoutAGap) {
  play_in_a_loop(15, GST_SEEK_FLAG_SEGMENT, GST_MESSAGE_SEGMENT_DONE);
}

}  // namespace
}  // namespace tome::testing
