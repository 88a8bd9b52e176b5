// The properties of tomepublish, but for `stats`.
#pragma once

#include <gst/gst.h>

#include <vector>

#include "publish_settings.h"

namespace tome::gst {

/// First identifier that publish_properties.cpp leaves free.
inline constexpr guint kPublishPropertiesEnd = 32;

void install_publish_properties(GObjectClass* klass);
/// @return false if there is no such property
bool set_publish_property(PublishSettings& settings, guint id, const GValue* value);
bool get_publish_property(const PublishSettings& settings, guint id, GValue* value);
/// Names of the properties that differ and count from the next start only.
std::vector<const char*> changed_for_next_start(const PublishSettings& before,
                                                const PublishSettings& after);

}  // namespace tome::gst
