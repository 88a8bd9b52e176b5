#include "overlay_properties.h"

#include "property_table.h"

namespace tome::gst {
namespace {

constexpr GEnumValue kHorizontal[] = {
    {static_cast<int>(HorizontalAlign::kLeft), "At the left", "left"},
    {static_cast<int>(HorizontalAlign::kCenter), "In the middle", "center"},
    {static_cast<int>(HorizontalAlign::kRight), "At the right", "right"},
    {0, nullptr, nullptr}};
constexpr GEnumValue kVertical[] = {
    {static_cast<int>(VerticalAlign::kTop), "At the top", "top"},
    {static_cast<int>(VerticalAlign::kBottom), "At the bottom", "bottom"},
    {0, nullptr, nullptr}};

using O = OverlayOptions;

constexpr Property<O> kTable[] = {
    {"top-k", "Most tags of one result, best first", kControllable, &O::top_k, 0, 100},
    {"font-desc",
     "Pango font description, as \"Sans Bold 18\"; without a size, it follows "
     "the frame's size; it never exceeds its height",
     kPlaying, &O::font},
    {"color", "Color of text and boxes (ARGB, e.g. 0xffff0000 for red)", kControllable, &O::color,
     0, G_MAXUINT32},
    {"shaded-background", "Draw a dark background behind the text", kControllable, &O::shaded},
    {"halignment", "Where the full frame's tags are, across", kControllable,
     choice<O, &O::horizontal>("GstTomeOverlayHAlign", kHorizontal)},
    {"valignment", "Where the full frame's tags are, down", kControllable,
     choice<O, &O::vertical>("GstTomeOverlayVAlign", kVertical)},
    {"silent", "Draw nothing", kControllable, &O::silent},
};

}  // namespace

void install_overlay_properties(GObjectClass* klass) { install_table(klass, kTable); }

bool set_overlay_property(OverlayOptions& options, guint id, const GValue* value) {
  return set_in_table(kTable, options, id, value);
}

bool get_overlay_property(const OverlayOptions& options, guint id, GValue* value) {
  return get_from_table(kTable, options, id, value);
}

}  // namespace tome::gst
