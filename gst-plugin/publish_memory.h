// Which results were published last, so that copies of them are not.
#pragma once

#include <gst/gst.h>

#include <array>
#include <compare>
#include <cstdint>
#include <map>
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

// Note [A result whose frame was dropped]
// videorate, a leaky queue and others drop frames, and with one its fresh result. The frames behind
// it carry the result too, with its age, so the first that brings one that was not published is
// taken at its word. Which were, the clip tells: of each model, or each tracked object (whose
// region moves meanwhile), the clips are kept that came last. Several, because more than one result
// of one name may be held at a time: of two models, or of streams that take turns on one pad
// (funnel, input-selector), each of which has times of its own. Nothing is made of their order:
// time goes back where a stream is played in reverse or begins anew. Behind an encoder that
// reorders frames a held result may come before the fresh one, until no frame before its own can
// come any more; and it may come behind a later one.
class PublishMemory {
 public:
  explicit PublishMemory(bool held = false) : held_(held) {}

  /// Takes those out of the results of a buffer that were on the buffer before already. Without
  /// `held`, those go too that are not fresh and were published before.
  /// @param in_order  no frame that is shown earlier can come after this one
  void keep_new(std::vector<Classification>& results, GstClockTime buffer_time,
                bool in_order = true);
  /// To be called where other frames may have the same time stamps: another segment or stream. What
  /// is held goes on, as it may be one that was here before.
  void start_anew() { last_.clear(); }
  /// To be called after a flush, which ends all that is held.
  void forget() {
    last_.clear();
    published_.clear();
  }

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

  using Clip = std::pair<GstClockTime, GstClockTime>;  // start, end
  /// What was published of a model or object.
  struct Published {
    std::vector<Clip> clips;  // the one that came last is the first
    uint64_t buffer;          // that brought a result of it last
  };
  using Subject = std::pair<std::string, std::optional<int64_t>>;  // model, id of an object

  static constexpr size_t kMostClips = 16;
  // Tracking ids never end. So many are kept of those that are not on this buffer, and where there
  // are more, none for longer than so many buffers.
  static constexpr size_t kMostAbsent = 10000;
  static constexpr uint64_t kLongestAbsence = 600;

  Key key_of(const Classification& result, GstClockTime buffer_time) const;
  bool was_missed(const Classification& result);
  void drop_held(std::vector<Classification>& results, bool in_order);
  void remember(const std::vector<Classification>& results);
  void forget_absent();
  static bool use(Published& published, const Clip& clip);

  bool held_;
  std::set<Key> last_;
  // Without `held` only.
  std::map<Subject, Published> published_;
  uint64_t buffer_ = 0;
};

}  // namespace tome::gst
