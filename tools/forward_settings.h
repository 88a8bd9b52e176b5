// The options that classify, eval, show and bench share: what a forward runs on and how tokens
// merge.
#pragma once

#include <ATen/core/Tensor.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "vit/model.h"

namespace tome::cli {

/// As given on the command line; the words are those of the element's properties.
struct ForwardSettings {
  std::string device = "auto";
  std::string prop_attn = "auto";
  std::string partition = "auto";
  std::string metric = "keys";
  std::string similarity = "cosine";
  std::string method = "bipartite";
  std::string combine = "weighted-mean";
  double static_threshold = -1;  ///< grey levels, < 0: off
  int threads = 0;
  uint64_t seed = 0;
};

/// Adds an option for a whole number of at least `least`, whose help says its default.
CLI::Option* add_count(CLI::App& command, const char* name, int64_t& value, int64_t least,
                       const char* help);

/// Adds --device, --threads, --prop-attn, --partition, --metric, --similarity, --method, --combine,
/// --static and --seed.
void add_forward_options(CLI::App& command, ForwardSettings& settings);

/// Merging options without a schedule. `preprocess` is the checkpoint's, to bring grey levels to
/// the units of normalised input.
/// @throws Error kSettings for a setting that the method would ignore, and for a method that the
///   model is not made for
ForwardOptions forward_options(const ForwardSettings& settings, const ViTConfig& config,
                               const PreprocessSpec& preprocess);

/// @param frames  of one input
/// @throws Error kSettings for --static where nothing can repeat
void check_static(const ForwardSettings& settings, int64_t frames);

/// How tokens merge, as results say it: all of the settings but the device and its threads.
nlohmann::ordered_json to_json(const ForwardSettings& settings);

/// "method k-means, static 2": those of them that are not the default; empty where all are.
std::string unusual(const ForwardSettings& settings);

/// Sets the threads of a forward; 0: as many as the process has cores. Returns the number in use.
int use_threads(int threads);

/// choose_device() for the option --device, which its errors name.
at::Device asked_device(const std::string& text);

/// For forwards in LibTorch's operators.
/// @throws Error kSettings for another word, kDevice where there is no such device for LibTorch
at::Device parse_device(const std::string& text);

/// @throws Error kDevice where LibTorch's operators do not run on CUDA
void require_libtorch(at::Device device);

/// "fp32", "bf16", "fp16" or "int8" (at::kChar).
at::ScalarType parse_precision(const std::string& text);

/// The specs of one or several --r. A single value is split at ';' where it has one, else at ',';
/// of repeated ones each is a spec by itself, since a per-block list has commas of its own.
/// @param of_model  the schedule the model ships with, which "model" stands for
std::vector<std::string> split_specs(const std::vector<std::string>& values,
                                     const std::string& of_model);

/// "1,8" to {1, 8}; every number is >= 1.
std::vector<int64_t> parse_counts(const std::string& text, const char* option);

std::vector<std::string> split(std::string_view text, char separator);

}  // namespace tome::cli
