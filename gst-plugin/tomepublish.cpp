// tomepublish: classification results as JSON, to a file, an MQTT broker or Kafka.

/**
 * SECTION:element-tomepublish
 * @title: tomepublish
 *
 * Publishes what tomeclassify recognised, one JSON object for each result: as lines on standard
 * output or in a file, or as messages to an MQTT broker or Kafka (property method). Copies of a
 * result, as on the packets of one frame, are left out, and so is what is held of it on later
 * frames, unless the frame on which it was fresh did not come here. Buffers pass through untouched,
 * so it stands anywhere behind tomeclassify, also behind a converter or an encoder that keeps
 * metas. The result of a window that was padded at the end of the stream arrives as an event and is
 * printed too.
 *
 * Keys: time (when the line is written, RFC 3339), captured (null, or when the frame was captured,
 * as its GstReferenceTimestampMeta says), pts (seconds of the stream), stream, model, element (name
 * of the tomeclassify), region (null for the full frame, or [x, y, w, h]), frame (only of regions:
 * [w, h] of the picture they count in), object (null, or the detector's type and id of the region),
 * clip (null, or start, end in seconds, and frames), age, tags (array of id, label, score, best
 * first), tokens_in, tokens_out.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 -q filesrc location=street.mp4 ! decodebin ! videoconvert ! \
 *     tomeclassify model=vit_tiny_patch16_224 ! tomepublish stream=street ! fakesink
 * ]| Prints the tags of every frame.
 */

#include <gst/base/gstbasetransform.h>
#include <gst/gst.h>

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "capture_time.h"
#include "classification_meta.h"
#include "gst_ptr.h"
#include "printable.h"
#include "property_table.h"
#include "publish_backend.h"
#include "publish_memory.h"
#include "publish_progress.h"
#include "publish_properties.h"
#include "publish_times.h"
#include "result_line.h"

using tome::gst::BegunFiles;
using tome::gst::Classification;
using tome::gst::printable;
using tome::gst::Ptr;
using tome::gst::PublishBackend;
using tome::gst::PublishCounts;
using tome::gst::PublishError;
using tome::gst::PublishMemory;
using tome::gst::PublishProgress;
using tome::gst::PublishSettings;
using tome::gst::PublishTimes;
using tome::gst::PublishWarning;
using tome::gst::WeakElement;

GST_DEBUG_CATEGORY_STATIC(tome_publish_debug);
#define GST_CAT_DEFAULT tome_publish_debug

namespace {

/// The element's state. What stands below `mutex` is guarded by it; the rest belongs to the
/// streaming thread between start and stop, and `running` and `stream_name` are fixed for that
/// time.
struct Publisher {
  PublishSettings running;  // with a stream name
  PublishMemory memory;
  PublishTimes times;
  PublishProgress progress;
  bool raw = false;  // the caps say that frames are not encoded
  BegunFiles begun;  // since NULL: READY and back goes on with them

  std::mutex mutex;
  PublishSettings settings;
  std::shared_ptr<PublishBackend> backend;  // between start and stop
  PublishCounts counts;                     // of the backend that was there last
  bool stopping = false;
};

constexpr guint kPropStats = tome::gst::kPublishPropertiesEnd;

}  // namespace

struct GstTomePublish {
  GstBaseTransform parent;
  Publisher* impl;  // owned; made in init, given back in finalize
};
struct GstTomePublishClass {
  GstBaseTransformClass parent;
};

G_DEFINE_TYPE(GstTomePublish, gst_tome_publish, GST_TYPE_BASE_TRANSFORM)

namespace {

GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS_ANY);
GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS_ANY);

Publisher& impl_of(gpointer object) { return *reinterpret_cast<GstTomePublish*>(object)->impl; }

// Both show what the user, a broker or a library wrote, which may be no UTF-8.

void post_error(gpointer self, const PublishError& error) {
  gst_element_message_full(GST_ELEMENT(self), GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, error.code(),
                           g_strdup(printable(error.what()).c_str()), nullptr, __FILE__,
                           "tomepublish", __LINE__);
}

void post_warning(gpointer self, const std::string& text) {
  gst_element_message_full(GST_ELEMENT(self), GST_MESSAGE_WARNING, GST_RESOURCE_ERROR,
                           GST_RESOURCE_ERROR_WRITE, g_strdup(printable(text).c_str()), nullptr,
                           __FILE__, "tomepublish", __LINE__);
}

/// Posts on `self`, which may be stopped and gone while somebody still hears the last warning.
PublishWarning warning_of(GstBaseTransform* self) {
  return [weak = std::make_shared<WeakElement>(GST_ELEMENT(self))](const std::string& text) {
    if (const auto element = weak->get()) post_warning(element.get(), text);
  };
}

std::shared_ptr<PublishBackend> backend_of(Publisher& impl) {
  const std::scoped_lock lock(impl.mutex);
  return impl.backend;
}

gboolean start(GstBaseTransform* self) {
  Publisher& impl = impl_of(self);
  tome::gst::forget_late_settings(G_OBJECT(self));
  {
    const std::scoped_lock lock(impl.mutex);
    impl.running = impl.settings;
    impl.stopping = false;
  }
  if (impl.running.stream_name.empty()) {
    impl.running.stream_name = Ptr<char>(gst_element_get_name(self)).get();
  }
  impl.memory = PublishMemory(impl.running.held);
  impl.times = PublishTimes();
  impl.raw = false;
  try {
    auto backend = tome::gst::make_backend(impl.running, warning_of(self), impl.begun);
    backend->open();
    const std::scoped_lock lock(impl.mutex);
    impl.backend = std::move(backend);
  } catch (const PublishError& error) {
    post_error(self, error);
    return FALSE;
  } catch (const std::exception& error) {  // no descriptor or no thread is left
    post_error(self, PublishError(GST_RESOURCE_ERROR_FAILED, error.what()));
    return FALSE;
  }
  impl.progress.start(impl.running.progress);
  return TRUE;
}

gboolean stop(GstBaseTransform* self) {
  Publisher& impl = impl_of(self);
  impl.progress.finish();
  const auto backend = backend_of(impl);
  if (!backend) return TRUE;
  try {
    backend->close();
  } catch (const PublishError& error) {
    post_error(self, error);
  }
  const std::scoped_lock lock(impl.mutex);
  impl.counts = backend->counts();
  impl.backend = nullptr;
  // Whatever happened: else the pads stay active, and the pipeline cannot be stopped.
  return TRUE;
}

/// A frame that brings results; none: they come at the end of the stream.
struct Carrier {
  GstClockTime pts = GST_CLOCK_TIME_NONE;
  bool in_order = true;
  std::optional<std::chrono::system_clock::time_point> captured;
};

/// Publishes those among `results` that were not yet, with property `held` all of them.
GstFlowReturn publish(GstBaseTransform* self, std::vector<Classification> results,
                      const Carrier& frame) {
  Publisher& impl = impl_of(self);
  impl.times.look_at(results, frame.pts);
  impl.memory.keep_new(results, frame.pts, frame.in_order);
  if (results.empty()) return GST_FLOW_OK;
  const auto backend = backend_of(impl);
  const auto now = std::chrono::system_clock::now();
  for (const Classification& result : results) {
    impl.progress.result(result);
    auto times = impl.times.of(result, self->segment, frame.pts);
    // What is held is of an earlier frame.
    if (result.age == 0) times.captured = frame.captured;
    const auto line = tome::gst::result_line(result, times, impl.running.stream_name, now);
    try {
      if (!backend->write(line)) return GST_FLOW_FLUSHING;
    } catch (const PublishError& error) {
      post_error(self, error);
      return GST_FLOW_ERROR;
    }
  }
  return GST_FLOW_OK;
}

GstFlowReturn transform_ip(GstBaseTransform* self, GstBuffer* buffer) {
  Publisher& impl = impl_of(self);
  const GstClockTime pts = GST_BUFFER_PTS(buffer);
  const GstClockTime dts = GST_BUFFER_DTS(buffer);
  // Frames come in the order of their DTS, and none is shown before its own. Raw ones come as they
  // are shown, and a DTS that a source gave them (do-timestamp) does not follow videorate.
  const bool in_order = impl.raw || !GST_CLOCK_TIME_IS_VALID(dts) || dts >= pts;
  const auto flow = publish(self, tome::gst::results_of(buffer),
                            {pts, in_order, tome::gst::capture_time(buffer)});
  impl.progress.frame();
  return flow;
}

bool is_raw_video(GstEvent* caps_event) {
  GstCaps* caps = nullptr;
  gst_event_parse_caps(caps_event, &caps);
  return gst_structure_has_name(gst_caps_get_structure(caps, 0), "video/x-raw") != FALSE;
}

/// Ends what waits for a reader, and lets nothing wait until resume().
void interrupt(Publisher& impl, bool for_good) {
  {
    const std::scoped_lock lock(impl.mutex);
    impl.stopping |= for_good;
  }
  if (const auto backend = backend_of(impl)) backend->interrupt();
}

/// After a flush; one that ends on the way to READY changes nothing.
void resume(Publisher& impl) {
  const std::scoped_lock lock(impl.mutex);
  if (impl.backend && !impl.stopping) impl.backend->resume();
}

gboolean sink_event(GstBaseTransform* self, GstEvent* event) {
  Publisher& impl = impl_of(self);
  const GstStructure* structure = gst_event_get_structure(event);
  switch (GST_EVENT_TYPE(event)) {
    case GST_EVENT_CUSTOM_DOWNSTREAM:
      if (structure != nullptr &&
          gst_structure_has_name(structure, tome::gst::kClassificationName) != FALSE) {
        publish(self, tome::gst::results_of(structure), {});
      }
      break;
    case GST_EVENT_FLUSH_START:  // comes while the streaming thread may be waiting
      interrupt(impl, false);
      break;
    case GST_EVENT_FLUSH_STOP:
      resume(impl);
      impl.memory.forget();
      impl.times = PublishTimes();
      break;
    case GST_EVENT_STREAM_START:
      impl.memory.start_anew();
      impl.times = PublishTimes();
      break;
    case GST_EVENT_SEGMENT:
      impl.memory.start_anew();
      impl.times.forget_frames();
      break;
    case GST_EVENT_CAPS:
      impl.raw = is_raw_video(event);
      break;
    case GST_EVENT_EOS:
      if (const auto backend = backend_of(impl)) backend->finish();
      break;
    default:
      break;
  }
  return GST_BASE_TRANSFORM_CLASS(gst_tome_publish_parent_class)->sink_event(self, event);
}

GstStateChangeReturn change_state(GstElement* self, GstStateChange transition) {
  // Before the parent's, which waits for the streaming thread.
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) interrupt(impl_of(self), true);
  const auto change =
      GST_ELEMENT_CLASS(gst_tome_publish_parent_class)->change_state(self, transition);
  if (transition == GST_STATE_CHANGE_READY_TO_NULL) impl_of(self).begun.clear();
  return change;
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  Publisher& impl = impl_of(object);
  std::vector<const char*> changed;
  {
    const std::scoped_lock lock(impl.mutex);
    const PublishSettings before = impl.settings;
    if (!tome::gst::set_publish_property(impl.settings, id, value)) {
      G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
    changed = tome::gst::changed_for_next_start(before, impl.settings);
  }
  if (GST_STATE(object) <= GST_STATE_READY) return;
  for (const char* name : changed) {
    tome::gst::notice_late_setting(object, name, tome_publish_debug);
  }
}

Ptr<GstStructure> stats_of(const Publisher& impl) {
  const auto counts = impl.backend ? impl.backend->counts() : impl.counts;
  return Ptr<GstStructure>(gst_structure_new("tomepublish-stats", "published", G_TYPE_UINT64,
                                             counts.published, "dropped", G_TYPE_UINT64,
                                             counts.dropped, "lost", G_TYPE_UINT64, counts.lost,
                                             "queued", G_TYPE_UINT64, counts.queued, nullptr));
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  Publisher& impl = impl_of(object);
  const std::scoped_lock lock(impl.mutex);
  if (id == kPropStats) {
    g_value_take_boxed(value, stats_of(impl).release());
  } else if (!tome::gst::get_publish_property(impl.settings, id, value)) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void finalize(GObject* object) {
  const std::unique_ptr<Publisher> impl(&impl_of(object));
  G_OBJECT_CLASS(gst_tome_publish_parent_class)->finalize(object);
}

}  // namespace

static void gst_tome_publish_class_init(GstTomePublishClass* klass) {
  auto* object_class = G_OBJECT_CLASS(klass);
  auto* element_class = GST_ELEMENT_CLASS(klass);
  auto* transform_class = GST_BASE_TRANSFORM_CLASS(klass);
  object_class->set_property = set_property;
  object_class->get_property = get_property;
  object_class->finalize = finalize;
  tome::gst::install_publish_properties(object_class);
  g_object_class_install_property(
      object_class, kPropStats,
      g_param_spec_boxed("stats", "stats", "Lines published, dropped, lost and queued",
                         GST_TYPE_STRUCTURE,
                         static_cast<GParamFlags>(G_PARAM_READABLE | G_PARAM_STATIC_STRINGS)));
  element_class->change_state = change_state;
  transform_class->start = start;
  transform_class->stop = stop;
  transform_class->transform_ip = transform_ip;
  transform_class->transform_ip_on_passthrough = TRUE;
  transform_class->sink_event = sink_event;
  gst_element_class_add_static_pad_template(element_class, &sink_template);
  gst_element_class_add_static_pad_template(element_class, &src_template);
  gst_element_class_set_static_metadata(
      element_class, "Classification publisher", "Filter/Analyzer/Video",
      "Publishes classification results as JSON: JSON Lines, MQTT, Kafka", "The gst-tome authors");
}

static void gst_tome_publish_init(GstTomePublish* self) {
  self->impl = std::make_unique<Publisher>().release();
  gst_base_transform_set_passthrough(GST_BASE_TRANSFORM(self), TRUE);
}

static gboolean plugin_init(GstPlugin* plugin) {
  GST_DEBUG_CATEGORY_INIT(tome_publish_debug, "tomepublish", 0, "Classification publisher");
  return tome::gst::register_classification_meta() &&
         gst_element_register(plugin, "tomepublish", GST_RANK_NONE, gst_tome_publish_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, tomepublish,
                  "Publishes classification results", plugin_init, TOME_VERSION, "MIT/X11",
                  "gst-tome", "Unknown package origin")
