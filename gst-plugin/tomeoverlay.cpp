// tomeoverlay: draws classification results onto the frames.

/**
 * SECTION:element-tomeoverlay
 * @title: tomeoverlay
 *
 * Draws what tomeclassify recognised: the best tags in a corner, and each region's beside its box.
 * Where downstream composes overlays itself (GstVideoOverlayCompositionMeta, as OpenGL and Wayland
 * sinks do) the text travels as that meta, as fine as the window if the sink says how large that is
 * (glimagesink does), and the pixels stay as they are, in any memory; elsewhere it is blended into
 * the frames. Boxes follow a scaler that stands in between, but not a crop or the borders that a
 * scaler adds: where those are, put it before them.
 *
 * ## Example pipeline
 * |[
 * gst-launch-1.0 filesrc location=street.mp4 ! decodebin ! videoconvert ! \
 *     tomeclassify model=vit_tiny_patch16_224 ! tomeoverlay ! videoconvert ! autovideosink
 * ]| Shows a film with its tags.
 */

#include <gst/base/gstbasetransform.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "classification_meta.h"
#include "gst_ptr.h"
#include "overlay_caps.h"
#include "overlay_labels.h"
#include "overlay_painter.h"
#include "overlay_properties.h"
#include "plane_memory.h"
#include "video_picture.h"

using tome::gst::CompositionPtr;
using tome::gst::OverlayOptions;
using tome::gst::OverlayPainter;
using tome::gst::Ptr;

GST_DEBUG_CATEGORY_STATIC(tome_overlay_debug);
#define GST_CAT_DEFAULT tome_overlay_debug

namespace {

/// The element's state. `options` is guarded by `mutex`; what is not atomic of the rest belongs to
/// the streaming thread.
struct Overlay {
  std::mutex mutex;
  OverlayOptions options;
  OverlayPainter painter;
  GstVideoInfo info{};
  tome::gst::Composer composer;
  bool attach = false;                       // the caps have the feature of overlay compositions
  bool blendable = false;                    // pixels that can be blended
  std::atomic<bool> ask{true};               // whether downstream composes has to be asked
  std::atomic<bool> prefer_blending{false};  // it does not
};

}  // namespace

struct GstTomeOverlay {
  GstBaseTransform parent;
  Overlay* impl;  // owned; made in init, given back in finalize
};
struct GstTomeOverlayClass {
  GstBaseTransformClass parent;
};

G_DEFINE_TYPE(GstTomeOverlay, gst_tome_overlay, GST_TYPE_BASE_TRANSFORM)

namespace {

#define TOME_OVERLAY_CAPS                                          \
  GST_VIDEO_CAPS_MAKE(GST_VIDEO_OVERLAY_COMPOSITION_BLEND_FORMATS) \
  "; " GST_VIDEO_CAPS_MAKE_WITH_FEATURES("ANY", GST_VIDEO_FORMATS_ALL)

GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS,
                                                             GST_STATIC_CAPS(TOME_OVERLAY_CAPS));
GstStaticPadTemplate src_template =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(TOME_OVERLAY_CAPS));

Overlay& impl_of(gpointer object) { return *reinterpret_cast<GstTomeOverlay*>(object)->impl; }

// Note [Who composes the overlay]
// Sinks that take any caps (fakesink, appsink) take the caps feature too, and would show nothing.
// Whether downstream knows the meta, its answer to an ALLOCATION query says, as for textoverlay;
// converters on the way answer only once they have caps. So caps with the feature leave first, and
// where the answer lacks the meta, caps without it follow before the first frame does. That holds
// until a RECONFIGURE: then the next frame asks downstream again, with the caps as they are, and if
// it composes by now, the frame after that one comes with the feature. A downstream that takes no
// caps without it (any more) gets it at once, for blending is preferred only.
// The answer also has the size of the window, and the sink sends a RECONFIGURE when that changes.
// The event itself asks nobody: its sender may hold locks that answers need, as playsink does, or
// send it again for being asked, as a capsfilter whose caps have changed.

gboolean start(GstBaseTransform* self) {
  Overlay& impl = impl_of(self);
  impl.ask = true;
  impl.prefer_blending = false;
  return TRUE;
}

GstCaps* transform_caps(GstBaseTransform* self, GstPadDirection direction, GstCaps* caps,
                        GstCaps* filter) {
  auto made = direction == GST_PAD_SINK
                  ? tome::gst::overlay_output_caps(caps, impl_of(self).prefer_blending)
                  : tome::gst::overlay_input_caps(caps);
  if (filter != nullptr) {
    made.reset(gst_caps_intersect_full(filter, made.get(), GST_CAPS_INTERSECT_FIRST));
  }
  return made.release();
}

/// Downstream may put its own preferences first.
GstCaps* fixate_caps(GstBaseTransform* self, GstPadDirection direction, GstCaps* caps,
                     GstCaps* others) {
  if (direction == GST_PAD_SINK && impl_of(self).prefer_blending) {
    others = tome::gst::blended_if_possible(Ptr<GstCaps>(others)).release();
  }
  return GST_BASE_TRANSFORM_CLASS(gst_tome_overlay_parent_class)
      ->fixate_caps(self, direction, caps, others);
}

gboolean set_caps(GstBaseTransform* self, GstCaps* in, GstCaps* out) {
  Overlay& impl = impl_of(self);
  impl.attach = tome::gst::has_overlay_feature(out);
  if (impl.attach && impl.prefer_blending.exchange(false)) impl.ask = true;  // another downstream
  const bool blendable = tome::gst::can_blend(in);
  if (blendable && !impl.blendable) impl.ask = true;  // what was asked before decided nothing
  impl.blendable = blendable;
  return gst_video_info_from_caps(&impl.info, in);
}

/// Sends caps without the feature ahead of the frame that is being transformed.
void blend_from_now_on(GstBaseTransform* self) {
  Overlay& impl = impl_of(self);
  impl.attach = false;
  impl.prefer_blending = true;
  const Ptr<GstCaps> marked(gst_pad_get_current_caps(self->srcpad));
  const auto plain =
      tome::gst::blended_if_possible(tome::gst::overlay_output_caps(marked.get(), true));
  gst_base_transform_update_src_caps(self, plain.get());
}

void decide_who_composes(GstBaseTransform* self) {
  Overlay& impl = impl_of(self);
  if (!impl.ask.exchange(false)) return;
  const auto composer = tome::gst::composer_of(self->srcpad);
  if (!composer) {
    impl.ask = true;
    return;
  }
  impl.composer = *composer;
  if (!impl.blendable) return;  // no choice
  if (impl.attach && !composer->composes) {
    blend_from_now_on(self);
  } else if (!impl.attach && composer->composes && impl.prefer_blending.exchange(false)) {
    impl.ask = true;  // once more, with the feature
    gst_base_transform_reconfigure_src(self);
  }
}

/// Ours over what an element before has attached, which is taken off the buffer.
CompositionPtr joined(GstBuffer* buffer, CompositionPtr ours) {
  auto* meta = gst_buffer_get_video_overlay_composition_meta(buffer);
  if (meta == nullptr) return ours;
  CompositionPtr all(gst_video_overlay_composition_copy(meta->overlay));
  const guint count = ours ? gst_video_overlay_composition_n_rectangles(ours.get()) : 0;
  for (guint i = 0; i < count; ++i) {
    gst_video_overlay_composition_add_rectangle(
        all.get(), gst_video_overlay_composition_get_rectangle(ours.get(), i));
  }
  gst_buffer_remove_video_overlay_composition_meta(buffer, meta);
  return all;
}

/// Of a frame of the same kind in memory of its own.
GstVideoInfo own_layout_of(const GstVideoFrame& frame) {
  GstVideoInfo own;
  gst_video_info_set_interlaced_format(&own, GST_VIDEO_FRAME_FORMAT(&frame),
                                       GST_VIDEO_INFO_INTERLACE_MODE(&frame.info),
                                       static_cast<guint>(GST_VIDEO_FRAME_WIDTH(&frame)),
                                       static_cast<guint>(GST_VIDEO_FRAME_HEIGHT(&frame)));
  own.colorimetry = frame.info.colorimetry;
  return own;
}

/// Draws on the frame, by way of a copy where GStreamer cannot write to it as it lies.
bool blend(GstVideoFrame& frame, GstVideoOverlayComposition* composition) {
  if (tome::gst::has_aligned_rows(frame)) {
    return gst_video_overlay_composition_blend(composition, &frame) != FALSE;
  }
  GstVideoInfo info = own_layout_of(frame);
  const Ptr<GstBuffer> pixels(gst_buffer_new_allocate(nullptr, info.size, nullptr));
  GstVideoFrame copy = GST_VIDEO_FRAME_INIT;
  if (gst_video_frame_map(&copy, &info, pixels.get(), GST_MAP_READWRITE) == FALSE) return false;
  const bool drawn = gst_video_frame_copy(&copy, &frame) != FALSE &&
                     gst_video_overlay_composition_blend(composition, &copy) != FALSE &&
                     gst_video_frame_copy(&frame, &copy) != FALSE;
  gst_video_frame_unmap(&copy);
  return drawn;
}

/// Draws on what is to be seen of the buffer; "" or why that failed.
std::string blend(GstBuffer* buffer, GstVideoOverlayComposition* composition, GstVideoInfo& info,
                  const tome::gst::Picture& picture) {
  GstVideoFrame frame = GST_VIDEO_FRAME_INIT;
  std::string problem = std::string("expected a frame of ") + GST_VIDEO_INFO_NAME(&info) + ", " +
                        tome::gst::size_text(info.width, info.height) + ", as the caps say";
  if (gst_video_frame_map(&frame, &info, buffer, GST_MAP_READWRITE) != FALSE) {
    if (tome::gst::narrow_to(frame, picture)) {
      const std::string outside = tome::gst::outside_memory(frame);
      if (!outside.empty()) {
        problem = outside;
      } else if (blend(frame, composition)) {
        problem.clear();
      }
    }
    gst_video_frame_unmap(&frame);
  }
  if (problem.empty()) return "";
  return "a buffer of " + std::to_string(gst_buffer_get_size(buffer)) + " bytes: " + problem;
}

/// What is to be seen of the buffer, at most as large as the caps say: boxes and texts take memory
/// by its size, and a GstVideoCropMeta may say any. Nothing, and `problem` says why, if it lies.
std::optional<tome::gst::Picture> seen_of(GstBuffer* buffer, const GstVideoInfo& info,
                                          std::string& problem) {
  const auto picture = tome::gst::picture_of(buffer, info, problem);
  if (!picture || (picture->width <= info.width && picture->height <= info.height)) return picture;
  problem = "a buffer whose GstVideoCropMeta says " +
            tome::gst::size_text(picture->width, picture->height) + ": expected at most " +
            tome::gst::size_text(info.width, info.height) + ", as the caps say";
  return std::nullopt;
}

/// Texts that are blended have the frame's pixels, whatever the window.
tome::gst::OverlayView view_for(const Overlay& impl, const tome::gst::Picture& picture) {
  const auto window = impl.attach ? impl.composer : tome::gst::Composer();
  return tome::gst::view_of(impl.info, picture.width, picture.height, window.width, window.height);
}

/// "" or why the buffer cannot be drawn on.
std::string draw(Overlay& impl, GstBuffer* buffer) {
  OverlayOptions options;
  {
    const std::scoped_lock lock(impl.mutex);
    options = impl.options;
  }
  std::vector<tome::gst::Classification> results;
  if (!options.silent) results = tome::gst::results_of(buffer);
  // Nothing of ours, and what came with the buffer goes on as it came.
  const bool came_with = gst_buffer_get_video_overlay_composition_meta(buffer) != nullptr;
  if (results.empty() && (impl.attach || !came_with)) return "";
  std::string problem;
  const auto picture = seen_of(buffer, impl.info, problem);
  if (!picture) return problem;
  tome::gst::scale_regions(results, picture->width, picture->height);
  const auto labels = tome::gst::overlay_labels(results, options.top_k);
  if (labels.empty() && (impl.attach || !came_with)) return "";
  auto composition = joined(buffer, impl.painter.paint(labels, options, picture->width,
                                                       picture->height, view_for(impl, *picture)));
  if (!composition) return "";
  if (!impl.attach) return blend(buffer, composition.get(), impl.info, *picture);
  gst_buffer_add_video_overlay_composition_meta(buffer, composition.get());
  return "";
}

/// Gives properties that follow time the values they have at this frame.
void before_transform(GstBaseTransform* self, GstBuffer* buffer) {
  if (self->segment.format != GST_FORMAT_TIME) return;
  const GstClockTime time =
      gst_segment_to_stream_time(&self->segment, GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
  if (GST_CLOCK_TIME_IS_VALID(time)) gst_object_sync_values(GST_OBJECT(self), time);
}

GstFlowReturn transform_ip(GstBaseTransform* self, GstBuffer* buffer) {
  decide_who_composes(self);
  const std::string problem = draw(impl_of(self), buffer);
  if (problem.empty()) return GST_FLOW_OK;
  GST_ELEMENT_ERROR(self, STREAM, FORMAT, ("Cannot draw on %s", problem.c_str()), (nullptr));
  return GST_FLOW_ERROR;
}

gboolean src_event(GstBaseTransform* self, GstEvent* event) {
  if (GST_EVENT_TYPE(event) == GST_EVENT_RECONFIGURE) impl_of(self).ask = true;
  return GST_BASE_TRANSFORM_CLASS(gst_tome_overlay_parent_class)->src_event(self, event);
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  Overlay& impl = impl_of(object);
  const std::scoped_lock lock(impl.mutex);
  if (!tome::gst::set_overlay_property(impl.options, id, value)) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  Overlay& impl = impl_of(object);
  const std::scoped_lock lock(impl.mutex);
  if (!tome::gst::get_overlay_property(impl.options, id, value)) {
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void finalize(GObject* object) {
  const std::unique_ptr<Overlay> impl(&impl_of(object));
  G_OBJECT_CLASS(gst_tome_overlay_parent_class)->finalize(object);
}

}  // namespace

static void gst_tome_overlay_class_init(GstTomeOverlayClass* klass) {
  auto* object_class = G_OBJECT_CLASS(klass);
  auto* element_class = GST_ELEMENT_CLASS(klass);
  auto* transform_class = GST_BASE_TRANSFORM_CLASS(klass);
  object_class->set_property = set_property;
  object_class->get_property = get_property;
  object_class->finalize = finalize;
  tome::gst::install_overlay_properties(object_class);
  transform_class->start = start;
  transform_class->transform_caps = transform_caps;
  transform_class->fixate_caps = fixate_caps;
  transform_class->set_caps = set_caps;
  transform_class->before_transform = before_transform;
  transform_class->transform_ip = transform_ip;
  transform_class->src_event = src_event;
  gst_element_class_add_static_pad_template(element_class, &sink_template);
  gst_element_class_add_static_pad_template(element_class, &src_template);
  gst_element_class_set_static_metadata(
      element_class, "Classification overlay", "Filter/Editor/Video",
      "Draws classification results onto the frames", "The gst-tome authors");
}

static void gst_tome_overlay_init(GstTomeOverlay* self) {
  self->impl = std::make_unique<Overlay>().release();
}

static gboolean plugin_init(GstPlugin* plugin) {
  GST_DEBUG_CATEGORY_INIT(tome_overlay_debug, "tomeoverlay", 0, "Classification overlay");
  return tome::gst::register_classification_meta() &&
         gst_element_register(plugin, "tomeoverlay", GST_RANK_NONE, gst_tome_overlay_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, tomeoverlay, "Draws classification results",
                  plugin_init, TOME_VERSION, "MIT/X11", "gst-tome", "Unknown package origin")
