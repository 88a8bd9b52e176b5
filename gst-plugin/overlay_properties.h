// The properties of tomeoverlay.
#pragma once

#include <gst/gst.h>

#include "overlay_painter.h"

namespace tome::gst {

/// What the user set. Defaults here are the defaults of the properties.
struct OverlayOptions : OverlayStyle {
  unsigned top_k = 3;
  bool silent = false;
};

void install_overlay_properties(GObjectClass* klass);
/// @return false if there is no such property
bool set_overlay_property(OverlayOptions& options, guint id, const GValue* value);
bool get_overlay_property(const OverlayOptions& options, guint id, GValue* value);

}  // namespace tome::gst
