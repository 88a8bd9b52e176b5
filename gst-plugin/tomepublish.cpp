// tomepublish: classification results as JSON Lines.

/**
 * SECTION:element-tomepublish
 * @title: tomepublish
 *
 * Writes what tomeclassify recognised as JSON Lines, one object for each fresh result, to standard
 * output or a file. Buffers pass through untouched, so it stands anywhere behind tomeclassify, also
 * behind a converter or an encoder that keeps metas. The result of a window that was padded at the
 * end of the stream arrives as an event and is printed too.
 *
 * Keys: time (wall clock, RFC 3339), pts (seconds), stream, model, region (null for the full frame,
 * or [x, y, w, h]), clip (null, or start, end in seconds, and frames), age, tags (array of id,
 * label, score, best first), tokens_in, tokens_out.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 -q filesrc location=street.mp4 ! decodebin ! videoconvert ! \
 *     tomeclassify model=vit_tiny_patch16_224 ! tomepublish stream=street ! fakesink
 * ]| Prints the tags of every frame.
 */

#include <gst/base/gstbasetransform.h>
#include <gst/gst.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include "classification_meta.h"
#include "gst_ptr.h"
#include "line_writer.h"
#include "publish_progress.h"
#include "result_line.h"

using tome::gst::Classification;
using tome::gst::LineWriter;
using tome::gst::Ptr;
using tome::gst::PublishProgress;

GST_DEBUG_CATEGORY_STATIC(tome_publish_debug);
#define GST_CAT_DEFAULT tome_publish_debug

namespace {

struct Options {
  std::string location;
  bool append = false;
  std::string stream;
  bool held = false;
  bool progress = false;
};

/// The element's state. `options` is guarded by `mutex`; the rest belongs to the streaming thread
/// between start and stop, `running` and `name` are fixed for that time.
struct Publisher {
  std::mutex mutex;
  Options options;
  Options running;
  std::string stream;
  LineWriter writer;
  PublishProgress progress;
};

enum Property : guint { kPropLocation = 1, kPropAppend, kPropStream, kPropHeld, kPropProgress };

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

std::string place(const Options& options) {
  return options.location.empty() ? "standard output" : "'" + options.location + "'";
}

void post_io_error(gpointer self, const char* what, gint code, int error) {
  const std::string text = std::string("Cannot ") + what + " " + place(impl_of(self).running) +
                           ": " + std::generic_category().message(error);
  gst_element_message_full(GST_ELEMENT(self), GST_MESSAGE_ERROR, GST_RESOURCE_ERROR, code,
                           g_strdup(text.c_str()), nullptr, __FILE__, "tomepublish", __LINE__);
}

gboolean start(GstBaseTransform* self) {
  Publisher& impl = impl_of(self);
  {
    const std::scoped_lock lock(impl.mutex);
    impl.running = impl.options;
  }
  const Ptr<char> name(gst_element_get_name(self));
  impl.stream = impl.running.stream.empty() ? name.get() : impl.running.stream;
  if (const int error = impl.writer.open(impl.running.location, impl.running.append)) {
    post_io_error(self, "open", GST_RESOURCE_ERROR_OPEN_WRITE, error);
    return FALSE;
  }
  impl.progress.start(impl.running.progress);
  return TRUE;
}

gboolean stop(GstBaseTransform* self) {
  Publisher& impl = impl_of(self);
  impl.progress.finish();
  const int error = impl.writer.close();
  if (error != 0) post_io_error(self, "close", GST_RESOURCE_ERROR_CLOSE, error);
  return error == 0;
}

/// Prints the fresh ones among `results`, with property `held` all of them.
bool publish(gpointer self, const std::vector<Classification>& results, GstClockTime pts) {
  Publisher& impl = impl_of(self);
  const auto now = std::chrono::system_clock::now();
  for (const Classification& result : results) {
    if (result.age > 0 && !impl.running.held) continue;
    impl.progress.result(result);
    const GstClockTime time = GST_CLOCK_TIME_IS_VALID(pts) ? pts : result.clip_end;
    const int error = impl.writer.write(tome::gst::result_line(result, time, impl.stream, now));
    if (error == 0) continue;
    const gint code = error == ENOSPC ? GST_RESOURCE_ERROR_NO_SPACE_LEFT : GST_RESOURCE_ERROR_WRITE;
    post_io_error(self, "write to", code, error);
    return false;
  }
  return true;
}

GstFlowReturn transform_ip(GstBaseTransform* self, GstBuffer* buffer) {
  const bool written = publish(self, tome::gst::results_of(buffer), GST_BUFFER_PTS(buffer));
  impl_of(self).progress.frame();
  return written ? GST_FLOW_OK : GST_FLOW_ERROR;
}

gboolean sink_event(GstBaseTransform* self, GstEvent* event) {
  if (GST_EVENT_TYPE(event) == GST_EVENT_CUSTOM_DOWNSTREAM) {
    const GstStructure* structure = gst_event_get_structure(event);
    if (gst_structure_has_name(structure, tome::gst::kClassificationName)) {
      publish(self, tome::gst::results_of(structure), GST_CLOCK_TIME_NONE);
    }
  }
  return GST_BASE_TRANSFORM_CLASS(gst_tome_publish_parent_class)->sink_event(self, event);
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  Publisher& impl = impl_of(object);
  const std::scoped_lock lock(impl.mutex);
  const char* text = G_VALUE_HOLDS_STRING(value) ? g_value_get_string(value) : nullptr;
  switch (id) {
    case kPropLocation:
      impl.options.location = text != nullptr ? text : "";
      break;
    case kPropAppend:
      impl.options.append = g_value_get_boolean(value) != FALSE;
      break;
    case kPropStream:
      impl.options.stream = text != nullptr ? text : "";
      break;
    case kPropHeld:
      impl.options.held = g_value_get_boolean(value) != FALSE;
      break;
    case kPropProgress:
      impl.options.progress = g_value_get_boolean(value) != FALSE;
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  Publisher& impl = impl_of(object);
  const std::scoped_lock lock(impl.mutex);
  const Options& options = impl.options;
  const auto set_text = [value](const std::string& text) {
    g_value_set_string(value, text.empty() ? nullptr : text.c_str());
  };
  switch (id) {
    case kPropLocation:
      set_text(options.location);
      break;
    case kPropAppend:
      g_value_set_boolean(value, options.append);
      break;
    case kPropStream:
      set_text(options.stream);
      break;
    case kPropHeld:
      g_value_set_boolean(value, options.held);
      break;
    case kPropProgress:
      g_value_set_boolean(value, options.progress);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void finalize(GObject* object) {
  const std::unique_ptr<Publisher> impl(&impl_of(object));
  G_OBJECT_CLASS(gst_tome_publish_parent_class)->finalize(object);
}

constexpr auto kReady =
    static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY);

void install_properties(GObjectClass* klass) {
  g_object_class_install_property(
      klass, kPropLocation,
      g_param_spec_string("location", "location", "File to write to; unset: standard output",
                          nullptr, kReady));
  g_object_class_install_property(
      klass, kPropAppend,
      g_param_spec_boolean("append", "append",
                           "Add to the file at location instead of starting it anew", FALSE,
                           kReady));
  g_object_class_install_property(
      klass, kPropStream,
      g_param_spec_string("stream", "stream",
                          "Name of the stream, for the key `stream`; unset: the element's name",
                          nullptr, kReady));
  g_object_class_install_property(
      klass, kPropHeld,
      g_param_spec_boolean("held", "held",
                           "Also write results that are held from an earlier frame (age above 0)",
                           FALSE, kReady));
  g_object_class_install_property(
      klass, kPropProgress,
      g_param_spec_boolean("progress", "progress",
                           "Keep a line with frames, frames/s and the leading tag on stderr, when "
                           "that is a terminal",
                           FALSE, kReady));
}

}  // namespace

static void gst_tome_publish_class_init(GstTomePublishClass* klass) {
  auto* object_class = G_OBJECT_CLASS(klass);
  auto* element_class = GST_ELEMENT_CLASS(klass);
  auto* transform_class = GST_BASE_TRANSFORM_CLASS(klass);
  object_class->set_property = set_property;
  object_class->get_property = get_property;
  object_class->finalize = finalize;
  install_properties(object_class);
  transform_class->start = start;
  transform_class->stop = stop;
  transform_class->transform_ip = transform_ip;
  transform_class->transform_ip_on_passthrough = TRUE;
  transform_class->sink_event = sink_event;
  gst_element_class_add_static_pad_template(element_class, &sink_template);
  gst_element_class_add_static_pad_template(element_class, &src_template);
  gst_element_class_set_static_metadata(
      element_class, "Classification publisher", "Filter/Analyzer/Video",
      "Writes classification results as JSON Lines", "The gst-tome authors");
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
