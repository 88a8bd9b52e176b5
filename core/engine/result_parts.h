// What results are made of, for the core, the plugin and the tools alike. The standard library
// alone.
#pragma once

#include <cstdint>
#include <string>

namespace tome {

struct ResultTag {
  int64_t id = 0;
  std::string label;
  double score = 0;
};

/// What a detector calls a region: type and id of its GstVideoRegionOfInterestMeta or
/// GstAnalyticsODMtd; the id of a tracked one is its tracker's.
struct ResultObject {
  std::string type;
  int64_t id = 0;

  bool operator==(const ResultObject&) const = default;
};

}  // namespace tome
