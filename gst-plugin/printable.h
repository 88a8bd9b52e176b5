// Text from a model, fit for a screen.
#pragma once

#include <gst/gst.h>

#include <string>

#include "gst_ptr.h"

namespace tome::gst {

/// `text` as valid UTF-8, its control characters (C0, DEL, C1) replaced by spaces: labels come from
/// a file, and a terminal obeys what such characters say.
inline std::string printable(const std::string& text) {
  const Ptr<char> valid(g_utf8_make_valid(text.c_str(), static_cast<gssize>(text.size())));
  std::string made;
  for (const char* at = valid.get(); *at != '\0';) {
    const char* next = g_utf8_next_char(at);
    const bool obeyed = g_unichar_iscntrl(g_utf8_get_char(at)) != FALSE;
    made += obeyed ? " " : std::string(at, next);
    at = next;
  }
  return made;
}

}  // namespace tome::gst
