// Which caps tomeoverlay turns into which, with and without the feature of overlay compositions,
// and what downstream says of composing.
#pragma once

#include <gst/gst.h>

#include <optional>

#include "gst_ptr.h"

namespace tome::gst {

/// Whether the first structure of `caps` has the feature meta:GstVideoOverlayComposition.
bool has_overlay_feature(const GstCaps* caps);

/// Frames of the first structure that can be blended: system memory, in a format that GStreamer
/// blends.
bool can_blend(const GstCaps* caps);

/// What can leave for frames of `caps`: with the feature, and without, to be blended, where that is
/// possible. The preferred ones come first.
Ptr<GstCaps> overlay_output_caps(const GstCaps* caps, bool blended_first);

/// Those of `caps` that lack the feature; all, if there are none.
Ptr<GstCaps> blended_if_possible(Ptr<GstCaps> caps);

/// What an ALLOCATION answer says of overlay compositions.
struct Composer {
  bool composes = false;
  unsigned width = 0, height = 0;  ///< pixels of the window it composes in; 0: it does not say
};

/// What downstream of `src` says with the caps as they are; nothing while it flushes.
std::optional<Composer> composer_of(GstPad* src);

/// What may enter for frames of `caps` to leave.
Ptr<GstCaps> overlay_input_caps(const GstCaps* caps);

}  // namespace tome::gst
