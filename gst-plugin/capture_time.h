// When a frame was captured, where its source says so.
#pragma once

#include <gst/gst.h>

#include <chrono>
#include <limits>
#include <optional>

namespace tome::gst {

/// Of the first GstReferenceTimestampMeta in NTP or Unix time (caps timestamp/x-ntp: ns since 1900,
/// timestamp/x-unix: ns since 1970) that tells it. Nothing before 1970, as of a camera whose clock
/// was never set, nor beyond what the clock's type holds (2262).
inline std::optional<std::chrono::system_clock::time_point> capture_time(GstBuffer* buffer) {
  using std::chrono::nanoseconds;
  constexpr GstClockTime kNtpEpoch = 2208988800 * GST_SECOND;  // 1970 in NTP's time
  constexpr auto kMost = static_cast<GstClockTime>(std::numeric_limits<nanoseconds::rep>::max());
  gpointer state = nullptr;
  while (const GstMeta* meta = gst_buffer_iterate_meta_filtered(
             buffer, &state, GST_REFERENCE_TIMESTAMP_META_API_TYPE)) {
    const auto* found = reinterpret_cast<const GstReferenceTimestampMeta*>(meta);
    // Neither ANY nor EMPTY, which are as good as each of them to gst_caps_is_subset().
    if (gst_caps_get_size(found->reference) != 1) continue;
    const GstStructure* clock = gst_caps_get_structure(found->reference, 0);
    const bool is_ntp = gst_structure_has_name(clock, "timestamp/x-ntp") != FALSE;
    if (!is_ntp && gst_structure_has_name(clock, "timestamp/x-unix") == FALSE) continue;
    const GstClockTime epoch = is_ntp ? kNtpEpoch : 0;
    if (!GST_CLOCK_TIME_IS_VALID(found->timestamp) || found->timestamp < epoch) continue;
    if (found->timestamp - epoch > kMost) continue;
    const nanoseconds since_1970(static_cast<nanoseconds::rep>(found->timestamp - epoch));
    return std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(since_1970));
  }
  return std::nullopt;
}

}  // namespace tome::gst
