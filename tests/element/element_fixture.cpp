#include "element_fixture.h"

namespace tome::testing {
namespace {

std::string describe_event(GstEvent* event) {
  const GstStructure* structure = gst_event_get_structure(event);
  std::string text = std::string("event ") + GST_EVENT_TYPE_NAME(event);
  if (GST_EVENT_TYPE(event) == GST_EVENT_CUSTOM_DOWNSTREAM) {
    text += std::string(" ") + gst_structure_get_name(structure);
  }
  if (GST_EVENT_TYPE(event) == GST_EVENT_CAPS) {
    GstCaps* caps = nullptr;
    gst_event_parse_caps(event, &caps);
    gint width = 0;
    gst_structure_get_int(gst_caps_get_structure(caps, 0), "width", &width);
    text += ' ';
    text += std::to_string(width);
  }
  return text;
}

}  // namespace

PadLog::PadLog(GstPad* pad) : pad_(pad) {
  probe_ = gst_pad_add_probe(
      pad,
      static_cast<GstPadProbeType>(GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM |
                                   GST_PAD_PROBE_TYPE_EVENT_FLUSH |
                                   GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM | GST_PAD_PROBE_TYPE_PUSH),
      note, this, nullptr);
}

PadLog::~PadLog() { gst_pad_remove_probe(pad_, probe_); }

GstPadProbeReturn PadLog::note(GstPad*, GstPadProbeInfo* info, gpointer self) {
  std::string entry;
  if ((info->type & GST_PAD_PROBE_TYPE_BUFFER) != 0) {
    const GstBuffer* buffer = GST_PAD_PROBE_INFO_BUFFER(info);
    entry = "buffer " + std::to_string(GST_BUFFER_PTS(buffer) / kFrame);
  } else if ((info->type & GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM) != 0) {
    GstQuery* query = GST_PAD_PROBE_INFO_QUERY(info);
    if (!GST_QUERY_IS_SERIALIZED(query)) return GST_PAD_PROBE_OK;
    entry = std::string("query ") + GST_QUERY_TYPE_NAME(query);
  } else {
    entry = describe_event(GST_PAD_PROBE_INFO_EVENT(info));
  }
  auto* log = static_cast<PadLog*>(self);
  const std::scoped_lock lock(log->mutex_);
  log->entries_.push_back(entry);
  return GST_PAD_PROBE_OK;
}

std::vector<std::string> PadLog::entries() const {
  const std::scoped_lock lock(mutex_);
  return entries_;
}

void PadLog::clear() {
  const std::scoped_lock lock(mutex_);
  entries_.clear();
}

LoneElement::LoneElement(Properties properties, const char* factory)
    : element_(gst_element_factory_make(factory, nullptr)), bus_(gst_bus_new()) {
  if (!element_) throw std::runtime_error(std::string("no element ") + factory);
  gst_object_ref_sink(element_.get());
  for (const auto& [name, value] : properties) {
    gst_util_set_object_arg(G_OBJECT(element_.get()), name, value);
  }
  gst_element_set_bus(element_.get(), bus_.get());
}

LoneElement::~LoneElement() {
  gst_element_set_state(element_.get(), GST_STATE_NULL);
  gst_element_set_bus(element_.get(), nullptr);
}

Harness::Harness(Properties properties, const char* factory)
    : LoneElement(properties, factory),
      harness_(gst_harness_new_with_element(element(), "sink", "src")),
      sink_(gst_element_get_static_pad(element(), "sink")),
      src_(gst_element_get_static_pad(element(), "src")) {}

Harness::~Harness() {
  gst_element_set_state(element(), GST_STATE_NULL);
  gst_harness_teardown(harness_);
}

void Harness::set_caps(const char* caps) { gst_harness_set_src_caps_str(harness_, caps); }

GstBuffer* Harness::frame(uint8_t value, int number) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, 16 * 8, nullptr);
  gst_buffer_memset(buffer, 0, value, 16 * 8);
  GST_BUFFER_PTS(buffer) = static_cast<GstClockTime>(number) * kFrame;
  GST_BUFFER_DURATION(buffer) = kFrame;
  return buffer;
}

Ptr<GstMessage> LoneElement::message(GstMessageType type) {
  return Ptr<GstMessage>(gst_bus_timed_pop_filtered(bus_.get(), 5 * GST_SECOND, type));
}

std::string LoneElement::error_text(GError** error, GstMessageType type) {
  const auto found = message(type);
  if (!found) return "";
  GError* parsed = nullptr;
  if (type == GST_MESSAGE_ERROR) {
    gst_message_parse_error(found.get(), &parsed, nullptr);
  } else {
    gst_message_parse_warning(found.get(), &parsed, nullptr);
  }
  const std::string text = parsed->message;
  if (error != nullptr) {
    *error = parsed;
  } else {
    g_error_free(parsed);
  }
  return text;
}

bool LoneElement::has_message(GstMessageType type) {
  return Ptr<GstMessage>(gst_bus_pop_filtered(bus_.get(), type)) != nullptr;
}

Ptr<GstStructure> Harness::stats() const {
  GstStructure* stats = nullptr;
  g_object_get(element(), "stats", &stats, nullptr);
  return Ptr<GstStructure>(stats);
}

void ElementTest::SetUp() { core_.reset(); }

void ElementTest::TearDown() {
  EXPECT_EQ(core_.models(), 0);
  EXPECT_EQ(core_.streams(), 0);
  EXPECT_EQ(core_.tickets(), 0);
  EXPECT_EQ(core_.mapped_frames(), 0);
  EXPECT_EQ(core_.misuses(), 0);
}

GstBuffer* numbered_frame(int number) {
  GstBuffer* buffer = Harness::frame(0, number);
  for (unsigned i = 0; i < 16 * 8; ++i) gst_buffer_memset(buffer, i, static_cast<guint8>(i), 1);
  return buffer;
}

std::string play(const std::string& line, const std::function<void(GstBuffer*)>& at_sink) {
  GError* error = nullptr;
  const Ptr<GstElement> pipeline(
      gst_parse_launch((line + " ! fakesink name=sink signal-handoffs=true").c_str(), &error));
  if (error != nullptr) return Ptr<GError>(error)->message;
  const Ptr<GstElement> sink(gst_bin_get_by_name(GST_BIN(pipeline.get()), "sink"));
  std::function<void(GstBuffer*)> visit = at_sink;
  g_signal_connect(sink.get(), "handoff",
                   G_CALLBACK(+[](GstElement*, GstBuffer* buffer, GstPad*, gpointer function) {
                     (*static_cast<std::function<void(GstBuffer*)>*>(function))(buffer);
                   }),
                   &visit);
  gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
  const Ptr<GstBus> bus(gst_element_get_bus(pipeline.get()));
  const Ptr<GstMessage> end(gst_bus_timed_pop_filtered(
      bus.get(), 10 * GST_SECOND,
      static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING)));
  gst_element_set_state(pipeline.get(), GST_STATE_NULL);
  if (!end) return "neither EOS nor an error came";
  if (GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_EOS) return "";
  if (GST_MESSAGE_TYPE(end.get()) == GST_MESSAGE_WARNING) {
    gst_message_parse_warning(end.get(), &error, nullptr);
  } else {
    gst_message_parse_error(end.get(), &error, nullptr);
  }
  return Ptr<GError>(error)->message;
}

std::vector<int> ages(Harness& h, int n) {
  std::vector<int> all;
  for (int i = 0; i < n; ++i) {
    const auto results = gst::results_of(h.pull().get());
    all.push_back(results.empty() ? -1 : static_cast<int>(results[0].age));
  }
  return all;
}

bool has_element(const char* name) {
  return gst_registry_check_feature_version(gst_registry_get(), name, 0, 0, 0) != FALSE;
}

int64_t value_on(GstBuffer* buffer) {
  const auto results = gst::results_of(buffer);
  if (results.size() != 1 || results[0].tags.size() != 1) return -1;
  return results[0].tags[0].id;
}

}  // namespace tome::testing
