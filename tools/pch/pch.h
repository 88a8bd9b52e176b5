// Precompiled for the tools: these headers take most of a compilation. CLI11's would lengthen it,
// for its validators are code that every compilation then takes in: see cli_sources.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
