#include "overlay_caps.h"

#include <gst/video/video.h>

namespace tome::gst {
namespace {

constexpr const char* kFeature = GST_CAPS_FEATURE_META_GST_VIDEO_OVERLAY_COMPOSITION;

/// A copy of `caps` with or without the feature in every structure.
Ptr<GstCaps> variant(const GstCaps* caps, bool with_feature) {
  Ptr<GstCaps> made(gst_caps_copy(caps));
  for (guint i = 0; i < gst_caps_get_size(made.get()); ++i) {
    GstCapsFeatures* features = gst_caps_get_features(made.get(), i);
    if (features == nullptr || gst_caps_features_is_any(features)) continue;
    if (!with_feature) {
      gst_caps_features_remove(features, kFeature);
    } else if (!gst_caps_features_contains(features, kFeature)) {
      gst_caps_features_add(features, kFeature);
    }
  }
  return made;
}

Ptr<GstCaps> blendable(const GstCaps* caps) {
  static GstStaticCaps formats =
      GST_STATIC_CAPS(GST_VIDEO_CAPS_MAKE(GST_VIDEO_OVERLAY_COMPOSITION_BLEND_FORMATS));
  const Ptr<GstCaps> blended(gst_static_caps_get(&formats));
  return Ptr<GstCaps>(
      gst_caps_intersect_full(const_cast<GstCaps*>(caps), blended.get(), GST_CAPS_INTERSECT_FIRST));
}

Ptr<GstCaps> merge(Ptr<GstCaps> first, Ptr<GstCaps> second) {
  return Ptr<GstCaps>(gst_caps_merge(first.release(), second.release()));
}

}  // namespace

bool has_overlay_feature(const GstCaps* caps) {
  const GstCapsFeatures* features = gst_caps_get_features(caps, 0);
  return features != nullptr && gst_caps_features_contains(features, kFeature) != FALSE;
}

bool can_blend(const GstCaps* caps) {
  return !gst_caps_is_empty(blendable(variant(caps, false).get()).get());
}

Ptr<GstCaps> overlay_output_caps(const GstCaps* caps, bool blend_only) {
  auto blended = blendable(variant(caps, false).get());
  if (blend_only && !gst_caps_is_empty(blended.get())) return blended;
  return merge(variant(caps, true), std::move(blended));
}

Ptr<GstCaps> overlay_input_caps(const GstCaps* caps) {
  // Without the feature only what can be blended leaves; with it, anything may have come in.
  Ptr<GstCaps> possible(gst_caps_new_empty());
  for (guint i = 0; i < gst_caps_get_size(caps); ++i) {
    const Ptr<GstCaps> one(gst_caps_copy_nth(caps, i));
    auto base = has_overlay_feature(one.get()) ? variant(one.get(), false) : blendable(one.get());
    auto marked = variant(base.get(), true);
    possible = merge(std::move(possible), merge(std::move(base), std::move(marked)));
  }
  return possible;
}

}  // namespace tome::gst
