#include "analytics_meta.h"

// Before GStreamer's header, which needs it in C++ and does not include it.
#include <initializer_list>

#include <gst/analytics/analytics.h>

#include <map>
#include <string>

namespace tome::gst {
namespace {

using Place = decltype(Detection().place());

/// The buffer's relations, made with room for `results` if there are none.
GstAnalyticsRelationMeta* relations_of(GstBuffer* buffer, size_t results) {
  auto* meta = gst_buffer_get_analytics_relation_meta(buffer);
  if (meta != nullptr) return meta;
  // Growing later would copy the whole matrix every few entries.
  GstAnalyticsRelationMetaInitParams room{2 * results + 2, 1024 + 256 * results};
  return gst_buffer_add_analytics_relation_meta_full(buffer, &room);
}

std::optional<Detection> read(const GstAnalyticsODMtd& od) {
  gint x = 0, y = 0, width = 0, height = 0;
  gfloat confidence = 0;
  if (gst_analytics_od_mtd_get_location(&od, &x, &y, &width, &height, &confidence) == FALSE) {
    return std::nullopt;
  }
  return Detection{gst_analytics_od_mtd_get_obj_type(&od),
                   x,
                   y,
                   width,
                   height,
                   std::nullopt,
                   static_cast<int>(od.id)};
}

std::optional<int64_t> track_of(GstAnalyticsRelationMeta* meta, const GstAnalyticsODMtd& od) {
  GstAnalyticsTrackingMtd tracking{};
  gpointer state = nullptr;
  if (gst_analytics_relation_meta_get_direct_related(meta, od.id, GST_ANALYTICS_REL_TYPE_ANY,
                                                     gst_analytics_tracking_mtd_get_mtd_type(),
                                                     &state, &tracking) == FALSE) {
    return std::nullopt;
  }
  guint64 id = 0;
  GstClockTime first = 0, last = 0;
  gboolean lost = FALSE;
  gst_analytics_tracking_mtd_get_info(&tracking, &id, &first, &last, &lost);
  return static_cast<int64_t>(id);
}

/// Calls `visit` with each GstAnalyticsODMtd.
template <class Visit>
void for_each_od(GstAnalyticsRelationMeta* meta, Visit&& visit) {
  gpointer state = nullptr;
  GstAnalyticsODMtd od{};
  while (gst_analytics_relation_meta_iterate(meta, &state, gst_analytics_od_mtd_get_mtd_type(),
                                             &od) != FALSE) {
    visit(od);
  }
}

std::optional<GstAnalyticsClsMtd> add_classes(GstAnalyticsRelationMeta* meta,
                                              const Classification& result) {
  std::vector<gfloat> levels;
  std::vector<GQuark> classes;
  for (const Tag& tag : result.tags) {
    levels.push_back(static_cast<gfloat>(tag.score));
    const std::string& name = tag.label.empty() ? std::to_string(tag.id) : tag.label;
    // Interned for good, but there are no more of them than the model has labels.
    classes.push_back(g_quark_from_string(name.c_str()));
  }
  GstAnalyticsClsMtd added{};
  if (levels.empty() || gst_analytics_relation_meta_add_cls_mtd(meta, levels.size(), levels.data(),
                                                                classes.data(), &added) == FALSE) {
    return std::nullopt;
  }
  return added;
}

std::map<Place, guint> ids_by_place(GstAnalyticsRelationMeta* meta) {
  std::map<Place, guint> ids;
  for_each_od(meta, [&](const GstAnalyticsODMtd& od) {
    if (const auto detection = read(od)) ids.emplace(detection->place(), od.id);
  });
  return ids;
}

std::optional<guint> add_detection(GstAnalyticsRelationMeta* meta, const Detection& where) {
  GstAnalyticsODMtd od{};
  // The detector's confidence is not known here: it found the region, so 1.
  if (gst_analytics_relation_meta_add_od_mtd(
          meta, where.type, static_cast<gint>(where.x), static_cast<gint>(where.y),
          static_cast<gint>(where.width), static_cast<gint>(where.height), 1.0F, &od) == FALSE) {
    return std::nullopt;
  }
  return od.id;
}

}  // namespace

std::vector<Detection> detections_on(GstBuffer* buffer) {
  std::vector<Detection> found;
  auto* meta = gst_buffer_get_analytics_relation_meta(buffer);
  if (meta == nullptr) return found;
  for_each_od(meta, [&](const GstAnalyticsODMtd& od) {
    auto detection = read(od);
    if (!detection) return;
    detection->track = track_of(meta, od);
    found.push_back(*detection);
  });
  return found;
}

void attach_classes(GstBuffer* buffer, std::span<const Classification> results) {
  auto* meta = relations_of(buffer, results.size());
  for (const Classification& result : results) add_classes(meta, result);
}

void attach_classes(GstBuffer* buffer, std::span<const DetectionClasses> results) {
  if (results.size() > kMostRelated) return;
  auto* meta = relations_of(buffer, results.size());
  auto ids = ids_by_place(meta);
  for (const auto& [where, what] : results) {
    const auto classes = add_classes(meta, *what);
    if (!classes) continue;
    auto known = ids.find(where.place());
    if (known == ids.end()) {
      const auto added = add_detection(meta, where);
      if (!added) continue;
      known = ids.emplace(where.place(), *added).first;
    }
    const guint od = known->second;
    gst_analytics_relation_meta_set_relation(meta, GST_ANALYTICS_REL_TYPE_RELATE_TO, od,
                                             classes->id);
    gst_analytics_relation_meta_set_relation(meta, GST_ANALYTICS_REL_TYPE_RELATE_TO, classes->id,
                                             od);
  }
}

}  // namespace tome::gst
