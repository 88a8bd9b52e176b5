#include "stream_run.h"

#include <gst/app/gstappsrc.h>
#include <gst/gst.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace tome::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Unref {
  void operator()(void* object) const { gst_object_unref(object); }
};
template <class T>
using Ref = std::unique_ptr<T, Unref>;

/// One pipeline: a source, perhaps the classifier, and a sink that throws away. A run at the
/// sources' own speed reads files; a live one is fed frames from memory at its rate.
class Stream {
 public:
  Stream(const StreamOptions& options, const RawSource& source, bool classify)
      : options_(options), source_(source), live_(options.live_frames_per_s > 0) {
    std::string line =
        live_
            ? "appsrc name=in is-live=true do-timestamp=true format=time block=false max-buffers=0 "
              "max-bytes=0 caps=" +
                  source.caps()
            : "multifilesrc name=in loop=true stop-index=" + std::to_string(source.count - 1) +
                  " location=" + source.pattern + " caps=" + source.caps();
    if (classify) {
      line += " ! tomeclassify name=classify model=\"" + options.model +
              "\" device=" + options.device + " precision=" + options.precision +
              " tome-r=" + options.schedule + " batch-size=" + std::to_string(options.batch_size) +
              " batch-timeout=" + std::to_string(options.batch_timeout_ms);
      if (live_) line += " late-policy=skip";
    } else {
      line += " ! identity name=classify";
    }
    // The queue keeps the sink's waiting for the clock out of the classifier's latency.
    line += live_ ? " ! queue ! fakesink sync=true qos=true" : " ! fakesink sync=false";
    GError* error = nullptr;
    pipeline_.reset(gst_parse_launch(line.c_str(), &error));
    if (error != nullptr) {
      const std::string text = error->message;
      g_error_free(error);
      throw std::runtime_error(text);
    }
    classify_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "classify"));
    in_.reset(gst_bin_get_by_name(GST_BIN(pipeline_.get()), "in"));
    probe("sink", &Stream::count_in);
    probe("src", &Stream::count_out);
    if (live_) {
      for (int i = 0; i < source.count; ++i) load(i);
    }
  }

  ~Stream() {
    end();
    gst_element_set_state(pipeline_.get(), GST_STATE_NULL);
    for (GstBuffer* buffer : frames_) gst_buffer_unref(buffer);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void start(double phase) {
    gst_element_set_state(pipeline_.get(), GST_STATE_PLAYING);
    if (live_) feeder_ = std::thread([this, phase] { feed(phase); });
  }

  /// Ends the stream.
  void end() {
    if (end_.exchange(true)) return;
    if (feeder_.joinable()) feeder_.join();
    gst_element_send_event(live_ ? in_.get() : pipeline_.get(), gst_event_new_eos());
  }

  /// Waits until everything has come out.
  void wait_for_end() {
    Ref<GstBus> bus(gst_element_get_bus(pipeline_.get()));
    GstMessage* message = gst_bus_timed_pop_filtered(
        bus.get(), 30 * GST_SECOND,
        static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR));
    if (message == nullptr) return;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
      GError* error = nullptr;
      gst_message_parse_error(message, &error, nullptr);
      failure_ = error->message;
      g_error_free(error);
    }
    gst_message_unref(message);
  }

  void begin_measuring() {
    const std::lock_guard lock(mutex_);
    latencies_.clear();
    counted_from_ = out_;
    inferences_from_ = stat("inferences");
    skipped_from_ = stat("skipped");
  }
  /// Ends what begin_measuring began, and adds it up.
  void add_to(RunFigures& figures, uint64_t& frames) {
    const std::lock_guard lock(mutex_);
    frames += out_ - counted_from_;
    figures.frames += out_ - counted_from_;
    figures.inferences += stat("inferences") - inferences_from_;
    figures.skipped += stat("skipped") - skipped_from_;
    figures.latencies_ms.insert(figures.latencies_ms.end(), latencies_.begin(), latencies_.end());
  }
  uint64_t lost() const { return in_count_ - out_; }
  const std::string& failure() const { return failure_; }

  uint64_t stat(const char* name) const {
    if (g_object_class_find_property(G_OBJECT_GET_CLASS(classify_.get()), "stats") == nullptr)
      return 0;
    GstStructure* stats = nullptr;
    g_object_get(classify_.get(), "stats", &stats, nullptr);
    guint64 value = 0;
    gst_structure_get_uint64(stats, name, &value);
    gst_structure_free(stats);
    return value;
  }

 private:
  using Counter = void (Stream::*)();
  template <Counter counter>
  static GstPadProbeReturn on_buffer(GstPad*, GstPadProbeInfo*, gpointer self) {
    (static_cast<Stream*>(self)->*counter)();
    return GST_PAD_PROBE_OK;
  }
  void probe(const char* name, Counter counter) {
    Ref<GstPad> pad(gst_element_get_static_pad(classify_.get(), name));
    gst_pad_add_probe(
        pad.get(), GST_PAD_PROBE_TYPE_BUFFER,
        counter == &Stream::count_in ? on_buffer<&Stream::count_in> : on_buffer<&Stream::count_out>,
        this, nullptr);
  }
  void count_in() {
    const std::lock_guard lock(mutex_);
    ++in_count_;
    entered_.push_back(Clock::now());
  }
  /// Buffers leave in the order they came, so the first that entered is the one that leaves.
  void count_out() {
    const std::lock_guard lock(mutex_);
    ++out_;
    if (entered_.empty()) return;
    latencies_.push_back(
        std::chrono::duration<double, std::milli>(Clock::now() - entered_.front()).count());
    entered_.pop_front();
  }

  void load(int index) {
    const auto data = read_frame(source_, index);
    GstBuffer* buffer = gst_buffer_new_allocate(nullptr, data.size(), nullptr);
    gst_buffer_fill(buffer, 0, data.data(), data.size());
    frames_.push_back(buffer);
  }

  void feed(double phase) {
    const double rate = options_.live_frames_per_s / options_.streams;
    const auto interval =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / rate));
    auto next = Clock::now() + std::chrono::duration_cast<Clock::duration>(interval * phase);
    for (size_t i = 0; !end_; ++i) {
      std::this_thread::sleep_until(next);
      next += interval;
      // A copy shares the memory and takes a timestamp of its own.
      gst_app_src_push_buffer(GST_APP_SRC(in_.get()), gst_buffer_copy(frames_[i % frames_.size()]));
    }
  }

  const StreamOptions& options_;
  const RawSource& source_;
  const bool live_;
  Ref<GstElement> pipeline_, classify_, in_;
  std::vector<GstBuffer*> frames_;
  std::thread feeder_;
  std::atomic<bool> end_ = false;
  std::string failure_;
  std::mutex mutex_;
  std::deque<Clock::time_point> entered_;
  std::vector<double> latencies_;
  uint64_t in_count_ = 0, out_ = 0, counted_from_ = 0, inferences_from_ = 0, skipped_from_ = 0;
};

}  // namespace

double RunFigures::latency_ms(double share) const {
  if (latencies_ms.empty()) return 0;
  std::vector<double> values = latencies_ms;
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(at), values.end());
  return values[at];
}

void measure_streams(const StreamOptions& options, bool classify, double seconds,
                     RunFigures& figures) {
  std::vector<std::unique_ptr<Stream>> streams;
  for (const RawSource& source : options.sources) {
    streams.push_back(std::make_unique<Stream>(options, source, classify));
  }
  for (size_t i = 0; i < streams.size(); ++i) {
    streams[i]->start(static_cast<double>(i) / static_cast<double>(streams.size()));
  }
  std::this_thread::sleep_for(std::chrono::seconds(2));  // start-up is not what is measured
  for (const auto& stream : streams) stream->begin_measuring();
  const auto begin = Clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  figures.per_stream.resize(streams.size());
  for (size_t i = 0; i < streams.size(); ++i) streams[i]->add_to(figures, figures.per_stream[i]);
  figures.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
  for (const auto& stream : streams) stream->end();
  for (const auto& stream : streams) {
    stream->wait_for_end();
    if (!stream->failure().empty()) throw std::runtime_error(stream->failure());
    figures.dropped += stream->lost();
  }
}

}  // namespace tome::bench
