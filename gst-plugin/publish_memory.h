// Which results were published last, so that copies of them are not.
#pragma once

#include <gst/gst.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "classification_meta.h"

namespace tome::gst {

// Note [Copies of a result]
// A payloader puts the metas of a frame on each of its packets, and videorate repeats a frame with
// all it carries: one fresh result arrives many times, each with age 0. What came on the buffer
// before, of the same model, region and clip and with the same tags, is a copy. (The tags, because
// a source may give several frames one time stamp.) On one buffer nothing is: two elements with
// models of one name may stand on the way. Where property `held` asks for what is known at each
// frame, a frame that videorate repeats is one more frame, so there only packets of one frame (one
// time stamp, one age) are copies. Without time stamps nothing can be told apart, and all is
// published.
class PublishMemory {
 public:
  explicit PublishMemory(bool held = false) : held_(held) {}

  /// Takes those out of the results of a buffer that were on the buffer before already. Without
  /// `held`, all that are not fresh go too.
  void keep_new(std::vector<Classification>& results, GstClockTime buffer_time);
  /// To be called where time starts anew: the same time stamps may come again.
  void forget() { last_.clear(); }

 private:
  struct Key {
    std::string model;
    std::optional<std::array<int, 4>> region;
    GstClockTime clip_start, clip_end;
    std::vector<std::pair<int64_t, uint64_t>> tags;  // ids, and scores' bits: NaN equals itself
    // With `held` only.
    unsigned age;
    GstClockTime buffer_time;

    auto operator<=>(const Key&) const = default;
  };

  Key key_of(const Classification& result, GstClockTime buffer_time) const;

  bool held_;
  std::set<Key> last_;
};

}  // namespace tome::gst
