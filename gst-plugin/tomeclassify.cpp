// The GObject shell of tomeclassify, and its plugin.

/**
 * SECTION:element-tomeclassify
 * @title: tomeclassify
 *
 * Tags video with a Vision Transformer that is accelerated by Token Merging. Buffers pass through
 * untouched; what was recognised is attached as a GstTomeClassification custom meta (see
 * docs/metadata.md) and, on request, posted as element messages.
 *
 * ## Example pipelines
 * |[
 * gst-launch-1.0 filesrc location=street.mp4 ! decodebin ! videoconvert ! \
 *     tomeclassify model=vit_tiny_patch16_224 tome-r=13 top-k=5 ! tomepublish ! fakesink
 * ]| Tags every frame of a file and prints one JSON line for each.
 * |[
 * gst-launch-1.0 v4l2src ! videoconvert ! \
 *     tomeclassify model=vit_tiny_patch16_224 inference-interval=5 late-policy=skip ! \
 *     tomepublish location=tags.jsonl ! fakesink
 * ]| Tags every fifth frame of a camera, and fewer if the machine does not keep up.
 */

#include <gst/gst.h>

#include <memory>

#include "classification_meta.h"
#include "classify_element.h"
#include "frame_mapper.h"

using tome::gst::ClassifyElement;
using tome::gst::Ptr;

GST_DEBUG_CATEGORY(tome_classify_debug);
#define GST_CAT_DEFAULT tome_classify_debug

struct GstTomeClassify {
  GstElement parent;
  ClassifyElement* impl;  // owned; made in init, given back in finalize
};
struct GstTomeClassifyClass {
  GstElementClass parent;
};

G_DEFINE_TYPE(GstTomeClassify, gst_tome_classify, GST_TYPE_ELEMENT)

namespace {

// CUDA memory first, so that it is preferred where the model's device takes it; CudaInput::narrow
// takes it away elsewhere. Overlays that a sink composes pass by: an element upstream that could
// not attach them would draw them into the pixels, and they would be classified. They come first,
// for tomeoverlay takes the first that it can make, and asks afterwards whether anybody composes.
#define TOME_OVERLAYS ", " GST_CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION
#define TOME_CAPS_WITH(more)                                                         \
  GST_VIDEO_CAPS_MAKE_WITH_FEATURES("memory:CUDAMemory" more, TOME_GST_CUDA_FORMATS) \
  "; " GST_VIDEO_CAPS_MAKE_WITH_FEATURES("memory:SystemMemory" more, TOME_GST_VIDEO_FORMATS)
#define TOME_CAPS TOME_CAPS_WITH(TOME_OVERLAYS) "; " TOME_CAPS_WITH("")

GstStaticPadTemplate sink_template =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS(TOME_CAPS));
GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(TOME_CAPS));

ClassifyElement& impl_of(gpointer object) {
  return *reinterpret_cast<GstTomeClassify*>(object)->impl;
}

GstFlowReturn chain(GstPad*, GstObject* parent, GstBuffer* buffer) {
  return impl_of(parent).chain(Ptr<GstBuffer>(buffer));
}

GstFlowReturn sink_event(GstPad*, GstObject* parent, GstEvent* event) {
  return impl_of(parent).sink_event(Ptr<GstEvent>(event));
}

GstPadProbeReturn look_at_event(GstPad*, GstPadProbeInfo* info, gpointer impl) {
  GstEvent* event = GST_PAD_PROBE_INFO_EVENT(info);
  if (GST_EVENT_TYPE(event) == GST_EVENT_CAPS) {
    static_cast<ClassifyElement*>(impl)->caps_arrive(event);
  }
  return GST_PAD_PROBE_OK;
}

gboolean src_event(GstPad*, GstObject* parent, GstEvent* event) {
  return impl_of(parent).src_event(Ptr<GstEvent>(event));
}

gboolean sink_query(GstPad*, GstObject* parent, GstQuery* query) {
  return impl_of(parent).sink_query(query);
}

gboolean src_query(GstPad*, GstObject* parent, GstQuery* query) {
  return impl_of(parent).src_query(query);
}

gboolean activate_sink(GstPad*, GstObject* parent, GstPadMode mode, gboolean active) {
  return mode == GST_PAD_MODE_PUSH && impl_of(parent).activate_sink(active);
}

gboolean activate_src(GstPad*, GstObject* parent, GstPadMode mode, gboolean active) {
  return mode == GST_PAD_MODE_PUSH && impl_of(parent).activate_src(active);
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  if (!impl_of(object).set_property(id, value)) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  if (!impl_of(object).get_property(id, value)) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void finalize(GObject* object) {
  const std::unique_ptr<ClassifyElement> impl(&impl_of(object));
  G_OBJECT_CLASS(gst_tome_classify_parent_class)->finalize(object);
}

void set_context(GstElement* element, GstContext* context) {
  impl_of(element).set_context(context);
  GST_ELEMENT_CLASS(gst_tome_classify_parent_class)->set_context(element, context);
}

GstStateChangeReturn change_state(GstElement* element, GstStateChange transition) {
  ClassifyElement& impl = impl_of(element);
  if (transition == GST_STATE_CHANGE_NULL_TO_READY && !impl.open()) return GST_STATE_CHANGE_FAILURE;
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !impl.start()) {
    return GST_STATE_CHANGE_FAILURE;
  }
  const GstStateChangeReturn result =
      GST_ELEMENT_CLASS(gst_tome_classify_parent_class)->change_state(element, transition);
  // Asked for in the source pad's own thread, which cannot be joined then: pads stay active, and
  // the sink pad's thread may be inside the stream. The next change that works stops it, or the
  // end.
  const bool failed = result == GST_STATE_CHANGE_FAILURE;
  const auto stops = failed ? GST_STATE_CHANGE_READY_TO_PAUSED : GST_STATE_CHANGE_PAUSED_TO_READY;
  if (transition == stops) impl.stop();
  if (transition == GST_STATE_CHANGE_READY_TO_NULL && !failed) impl.close();
  return result;
}

GstPad* add_pad(GstTomeClassify* self, GstStaticPadTemplate* pad_template) {
  GstPad* pad = gst_pad_new_from_static_template(pad_template, pad_template->name_template);
  // Pixels are not changed: what downstream takes is what we take, within the template.
  GST_PAD_SET_PROXY_CAPS(pad);
  gst_element_add_pad(GST_ELEMENT(self), pad);
  return pad;
}

}  // namespace

static void gst_tome_classify_class_init(GstTomeClassifyClass* klass) {
  auto* object_class = G_OBJECT_CLASS(klass);
  auto* element_class = GST_ELEMENT_CLASS(klass);
  object_class->set_property = set_property;
  object_class->get_property = get_property;
  object_class->finalize = finalize;
  tome::gst::install_properties(object_class);
  element_class->change_state = change_state;
  element_class->set_context = set_context;
  gst_element_class_add_static_pad_template(element_class, &sink_template);
  gst_element_class_add_static_pad_template(element_class, &src_template);
  gst_element_class_set_static_metadata(
      element_class, "Token Merging video classifier", "Filter/Analyzer/Video",
      "Tags frames and clips with a Vision Transformer accelerated by Token Merging",
      "The gst-tome authors");
}

static void gst_tome_classify_init(GstTomeClassify* self) {
  GstPad* sink = add_pad(self, &sink_template);
  GstPad* src = add_pad(self, &src_template);
  self->impl = std::make_unique<ClassifyElement>(GST_ELEMENT(self), sink, src).release();
  // Caps may leave out what the template has (appsrc and shmsrc often do: the frame rate).
  GST_PAD_SET_ACCEPT_INTERSECT(sink);
  gst_pad_set_chain_function(sink, chain);
  gst_pad_set_event_full_function(sink, sink_event);
  gst_pad_set_query_function(sink, sink_query);
  gst_pad_add_probe(sink, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, look_at_event, self->impl, nullptr);
  gst_pad_set_activatemode_function(sink, activate_sink);
  gst_pad_set_event_function(src, src_event);
  gst_pad_set_query_function(src, src_query);
  gst_pad_set_activatemode_function(src, activate_src);
}

static gboolean plugin_init(GstPlugin* plugin) {
  GST_DEBUG_CATEGORY_INIT(tome_classify_debug, "tomeclassify", 0, "Token Merging classifier");
  return tome::gst::register_classification_meta() &&
         gst_element_register(plugin, "tomeclassify", GST_RANK_NONE, gst_tome_classify_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, tomeclassify,
                  "Video classification with Token Merging", plugin_init, TOME_VERSION, "MIT/X11",
                  "gst-tome", "Unknown package origin")
