// tomepublish: readers that stall, are not there yet, or have gone.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <sstream>
#include <thread>

#include "publish_fixture.h"

namespace tome::testing {
namespace {

TEST_F(Publish, AReaderThatHasGoneIsAnErrorAndNoSignal) {
  // A named pipe whose reader closes: the next write is EPIPE. SIGPIPE would end this process.
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  const int reader = open(file_.c_str(), O_RDONLY | O_NONBLOCK);
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  ASSERT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
  close(reader);
  Classification next = result();
  next.clip_end = 3 * kFrame;
  EXPECT_EQ(h.push(frame_with({next}, 3)), GST_FLOW_ERROR);
  GError* error = nullptr;
  h.error_text(&error);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_WRITE));
}

/// A named pipe that is full, and whose reader does not read.
class StalledPipe {
 public:
  explicit StalledPipe(const std::filesystem::path& path)
      : made_(mkfifo(path.c_str(), 0600)), reader_(open(path.c_str(), O_RDONLY | O_NONBLOCK)) {
    const int writer = open(path.c_str(), O_WRONLY | O_NONBLOCK);
    const std::string page(4096, ' ');
    while (write(writer, page.data(), page.size()) > 0) {
    }
    close(writer);
  }
  ~StalledPipe() { close(reader_); }
  StalledPipe(const StalledPipe&) = delete;
  StalledPipe& operator=(const StalledPipe&) = delete;

  bool is_empty() const {
    int size = 0;
    return ioctl(reader_, FIONREAD, &size) != 0 || size == 0;
  }
  /// What can be read now, but for the spaces that filled it.
  std::string read_all() {
    std::string text(1 << 20, '\0');
    const auto size = read(reader_, text.data(), text.size());
    text.resize(size > 0 ? static_cast<size_t>(size) : 0);
    text.erase(0, text.find_first_not_of(' '));
    return text;
  }

 private:
  int made_, reader_;
};

TEST_F(Publish, StopsWhileAReaderStalls) {
  StalledPipe pipe(file_);
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  std::jthread streaming([&] { h.push(frame_with({result()})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(ends([&] { gst_element_set_state(h.element(), GST_STATE_NULL); }));
  streaming.join();
  EXPECT_FALSE(h.has_message(GST_MESSAGE_ERROR));
}

TEST_F(Publish, AFlushEndsTheWaitingForAReader) {
  StalledPipe pipe(file_);
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  auto flow = std::async(std::launch::async, [&] { return h.push(frame_with({result()})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_TRUE(ends([&] {
    h.push_event(gst_event_new_flush_start());
    EXPECT_EQ(flow.get(), GST_FLOW_FLUSHING);
    h.push_event(gst_event_new_flush_stop(TRUE));
  }));
  // The stream goes on when the reader does.
  pipe.read_all();
  GstSegment segment;
  gst_segment_init(&segment, GST_FORMAT_TIME);
  h.push_event(gst_event_new_segment(&segment));
  EXPECT_EQ(h.push(frame_with({result()})), GST_FLOW_OK);
  EXPECT_EQ(Json::parse(pipe.read_all())["model"], "fake");
}

TEST_F(Publish, OneStalledReaderStopsAllThatShareItAtOnce) {
  StalledPipe pipe(file_);
  Harness one({{"location", file_.c_str()}}, "tomepublish");
  Harness other({{"location", file_.c_str()}}, "tomepublish");
  std::vector<std::jthread> streaming;
  for (Harness* h : {&one, &other}) {
    h->set_caps();
    streaming.emplace_back([h] { h->push(frame_with({result()})); });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  for (Harness* h : {&other, &one}) {
    ASSERT_TRUE(ends([&] { gst_element_set_state(h->element(), GST_STATE_NULL); }));
  }
  for (auto& thread : streaming) thread.join();
}

TEST_F(Publish, LinesLongerThanAPipeHoldsStayWhole) {
  StalledPipe pipe(file_);
  const std::string full = pipe.read_all();
  Classification large = result();
  large.tags.assign(3000, {7, "water bottle", 0.75});
  Harness one({{"location", file_.c_str()}, {"stream", "one"}}, "tomepublish");
  Harness other({{"location", file_.c_str()}, {"stream", "other"}}, "tomepublish");
  std::vector<std::future<GstFlowReturn>> streaming;
  for (Harness* h : {&one, &other}) {
    h->set_caps();
    streaming.push_back(
        std::async(std::launch::async, [&, h] { return h->push(frame_with({large})); }));
  }
  std::string text;
  ASSERT_TRUE(ends([&] {
    while (std::count(text.begin(), text.end(), '\n') < 2) text += pipe.read_all();
  }));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(Json::parse(line)["tags"].size(), large.tags.size());
  }
  for (auto& flow : streaming) EXPECT_EQ(flow.get(), GST_FLOW_OK);
}

TEST_F(Publish, ALineThatAStopCutLeavesTheNextWhole) {
  StalledPipe pipe(file_);
  pipe.read_all();
  Classification large = result();
  large.tags.assign(3000, {7, "water bottle", 0.75});
  Harness one({{"location", file_.c_str()}}, "tomepublish");
  Harness other({{"location", file_.c_str()}}, "tomepublish");
  one.set_caps();
  other.set_caps();
  std::jthread streaming([&] { one.push(frame_with({large})); });
  ASSERT_TRUE(comes([&] { return !pipe.is_empty(); }));
  ASSERT_TRUE(ends([&] { gst_element_set_state(one.element(), GST_STATE_NULL); }));
  streaming.join();
  std::istringstream cut(pipe.read_all());
  ASSERT_EQ(other.push(frame_with({result()})), GST_FLOW_OK);
  std::istringstream whole(pipe.read_all());
  std::string line;
  std::getline(cut, line);
  EXPECT_FALSE(Json::accept(line));
  std::getline(whole, line);
  EXPECT_EQ(line, "") << "the end of the cut one";
  std::getline(whole, line);
  EXPECT_EQ(Json::parse(line)["model"], "fake");
}

TEST_F(Publish, ANamedPipeWaitsForItsReaderInTheStreamOnly) {
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  {
    LoneElement e({{"location", file_.c_str()}}, "tomepublish");
    ASSERT_TRUE(ends([&] { EXPECT_TRUE(e.set_state(GST_STATE_PAUSED)); }));
  }
  Harness h({{"location", file_.c_str()}}, "tomepublish");
  h.set_caps();
  auto flow = std::async(std::launch::async, [&] { return h.push(frame_with({result()})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  std::ifstream reader(file_);
  std::string line;
  ASSERT_TRUE(std::getline(reader, line));
  EXPECT_EQ(Json::parse(line)["pts"], 0.2);
  EXPECT_EQ(flow.get(), GST_FLOW_OK);
}

}  // namespace
}  // namespace tome::testing
