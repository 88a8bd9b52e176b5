#include "ignored_settings.h"

#include <locale>
#include <sstream>

namespace tome::gst {
namespace {

template <typename Value>
std::string ignored(const char* name, const Value& value, const char* found, const char* expected) {
  std::ostringstream text;
  text.imbue(std::locale::classic());  // as it is set, not as the application's users write numbers
  text << name << "=" << value << " has no effect: found together with " << found << ", expected "
       << expected;
  return text.str();
}

}  // namespace

std::vector<std::string> ignored_settings(const Settings& settings, uint32_t clip_length) {
  const Settings defaults;
  std::vector<std::string> texts;
  const auto check = [&](bool applies, auto Settings::*member, const char* name, const char* found,
                         const char* expected) {
    if (applies || settings.*member == defaults.*member) return;
    texts.push_back(ignored(name, settings.*member, found, expected));
  };
  const bool of_regions = settings.region == InferenceRegion::kRoiList;
  constexpr const char* kFullFrame = "inference-region=full-frame";
  constexpr const char* kRoiList = "inference-region=roi-list";
  check(of_regions, &Settings::object_class, "object-class", kFullFrame, kRoiList);
  check(of_regions, &Settings::reclassify_interval, "reclassify-interval", kFullFrame, kRoiList);
  check(!of_regions, &Settings::smoothing, "smoothing", kRoiList, kFullFrame);

  const bool of_clips = clip_length > 1;
  constexpr const char* kFrames = "a clip-length of 1";
  constexpr const char* kClips = "a clip model, or clip-length of 2 or more";
  check(of_clips, &Settings::clip_stride, "clip-stride", kFrames, kClips);
  check(of_clips, &Settings::frame_stride, "frame-stride", kFrames, kClips);
  if (settings.static_threshold >= 0) {
    check(of_clips, &Settings::static_threshold, "tome-static", kFrames, kClips);
  }
  return texts;
}

}  // namespace tome::gst
