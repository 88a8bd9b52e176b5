// Why a stream has no results although nothing fails.
#pragma once

#include <gst/gst.h>

#include <cstdint>
#include <optional>
#include <string>

#include "classify_settings.h"
#include "core_session.h"

namespace tome::gst {

// Note [Frames that cannot be read]
// A buffer may not hold the picture that its caps describe: an input-selector that switches between
// live sources lets one of the source before through, and an empty buffer stands for a gap. It
// passes without a result, and is a gap: no window, held result or track goes on over it. One
// warning says so for each caps or segment. Of a stream that has nothing else one wants to hear
// more: kMostUnread of them in a row are an error, and so is an EOS before any could be read. Empty
// buffers that are flagged GAP are what they say, and do not count for that.

/// What the frames of the streams between a start and a stop were, and what the user is told of it.
/// Of the sink pad's thread.
class StreamWatch {
 public:
  /// @param element  posts the warnings, and its log has the rest
  /// @param clip_length  frames in a window; 1 where each frame is classified by itself
  explicit StreamWatch(GstElement* element, const Settings& settings = {},
                       uint64_t clip_length = 1);

  /// A frame that windows may take. @param restart  it does not continue the one before
  void read(bool restart);
  /// A frame that holds no picture, as `error` says. @return an error if it is one too many
  MaybeFailure unread(const std::string& error, bool is_gap);
  /// Regions were looked for on a frame.
  void looked_for_regions(bool found);

  /// Frames of other caps, or of another segment, come.
  void changed() { unread_told_ = false; }
  /// A seek cuts windows on purpose.
  void flushed();
  /// The windows were ended. @param padded  one of them has a result
  void drained(bool padded);
  /// A stream has ended, by EOS or because another one comes. @return an error if none of its
  /// frames could be read
  MaybeFailure ended();
  /// Another stream comes.
  void began();

 private:
  void tell_of_cuts();

  GstElement* element_;
  std::string object_class_;
  uint64_t clip_length_;
  uint64_t window_;  // frames of the stream from a window's first to its last

  unsigned unread_ = 0;  // in a row
  bool unread_told_ = false;
  bool read_any_ = false;

  uint64_t run_ = 0;          // frames since the last restart that windows may have taken
  uint64_t longest_run_ = 0;  // of this stream
  unsigned cut_windows_ = 0;  // in a row
  bool cuts_told_ = false;
  bool padded_ = false;             // a window at an end of this stream
  std::optional<bool> saw_region_;  // on a frame on which regions were looked for
};

}  // namespace tome::gst
