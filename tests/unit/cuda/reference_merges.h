// The reference's recorded matchings that kernels can be held against.
#pragma once

#include <ATen/ATen.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "merging/matching.h"
#include "shared_data.h"

namespace tome::testing {

struct ReferenceMerge {
  std::string name;
  at::Tensor metric, x, size;  ///< size: undefined for ones
  MatchOptions options;
  at::Tensor x_out, size_out;
};

/// Of parity/matching.safetensors, which must be there: those that merge, behind a class token.
/// Where the reference orders its output by score, or leaves ties and NaN open, the CPU tests
/// compare what can be.
inline std::vector<ReferenceMerge> reference_merges() {
  std::ifstream about(shared_data() / "parity/matching.json");
  const auto file = SafetensorsFile::open(shared_data() / "parity/matching.safetensors");
  std::vector<ReferenceMerge> merges;
  for (const auto& c : nlohmann::json::parse(about)) {
    if (!c["exact_order"].get<bool>() || c["noop"].get<bool>() || !c["class_token"].get<bool>()) {
      continue;
    }
    ReferenceMerge merge;
    merge.name = c["name"];
    merge.metric = file.tensor(merge.name + ".metric").contiguous();
    merge.x = file.tensor(merge.name + ".x").contiguous();
    if (file.has(merge.name + ".size_in")) {
      merge.size = file.tensor(merge.name + ".size_in").squeeze(-1).to(at::kFloat).contiguous();
    }
    merge.options.r = c["r"];
    merge.options.protected_tokens.push_back(0);
    if (c["distill_token"].get<bool>()) merge.options.protected_tokens.push_back(1);
    merge.x_out = file.tensor(merge.name + ".x_out");
    merge.size_out = file.tensor(merge.name + ".size_out").squeeze(-1).to(at::kFloat);
    merges.push_back(std::move(merge));
  }
  return merges;
}

}  // namespace tome::testing
