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

Ptr<GstCaps> overlay_output_caps(const GstCaps* caps, bool blended_first) {
  auto blended = blendable(variant(caps, false).get());
  auto marked = variant(caps, true);
  return blended_first ? merge(std::move(blended), std::move(marked))
                       : merge(std::move(marked), std::move(blended));
}

Ptr<GstCaps> blended_if_possible(Ptr<GstCaps> caps) {
  Ptr<GstCaps> blended(gst_caps_new_empty());
  for (guint i = 0; i < gst_caps_get_size(caps.get()); ++i) {
    Ptr<GstCaps> one(gst_caps_copy_nth(caps.get(), i));
    if (!has_overlay_feature(one.get())) blended = merge(std::move(blended), std::move(one));
  }
  return gst_caps_is_empty(blended.get()) ? std::move(caps) : std::move(blended);
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

std::optional<Composer> composer_of(GstPad* src) {
  const Ptr<GstCaps> caps(gst_pad_get_current_caps(src));
  const Ptr<GstQuery> query(gst_query_new_allocation(caps.get(), FALSE));
  const bool answered = gst_pad_peer_query(src, query.get()) != FALSE;
  if (!answered && GST_PAD_IS_FLUSHING(src)) return std::nullopt;
  Composer composer;
  guint place = 0;
  if (!answered || gst_query_find_allocation_meta(
                       query.get(), GST_VIDEO_OVERLAY_COMPOSITION_META_API_TYPE, &place) == FALSE) {
    return composer;
  }
  composer.composes = true;
  const GstStructure* window = nullptr;
  gst_query_parse_nth_allocation_meta(query.get(), place, &window);
  if (window != nullptr) {
    gst_structure_get_uint(window, "width", &composer.width);
    gst_structure_get_uint(window, "height", &composer.height);
  }
  return composer;
}

}  // namespace tome::gst
