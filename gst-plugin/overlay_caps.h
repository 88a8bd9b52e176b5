// Which caps tomeoverlay turns into which: with and without the feature of overlay compositions.
#pragma once

#include <gst/gst.h>

#include "gst_ptr.h"

namespace tome::gst {

/// Whether the first structure of `caps` has the feature meta:GstVideoOverlayComposition.
bool has_overlay_feature(const GstCaps* caps);

/// Frames of the first structure that can be blended: system memory, in a format that GStreamer
/// blends.
bool can_blend(const GstCaps* caps);

/// What can leave for frames of `caps`: with the feature first (unless `blend_only`, where blending
/// is possible), then without, to be blended.
Ptr<GstCaps> overlay_output_caps(const GstCaps* caps, bool blend_only);

/// What may enter for frames of `caps` to leave.
Ptr<GstCaps> overlay_input_caps(const GstCaps* caps);

}  // namespace tome::gst
