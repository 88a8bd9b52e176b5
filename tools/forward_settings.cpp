#include "forward_settings.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include "engine/device.h"
#include "merging/partition_names.h"
#include "tome_error.h"
#include "vit/usable_cores.h"

namespace tome::cli {
namespace {

template <typename T>
using Words = std::map<std::string, T>;

const Words<PropAttn> kPropAttn{
    {"auto", PropAttn::kAuto}, {"on", PropAttn::kOn}, {"off", PropAttn::kOff}};
const Words<Metric> kMetrics{{"keys", Metric::kKeys},
                             {"keys-concat", Metric::kKeysConcat},
                             {"queries", Metric::kQueries},
                             {"values", Metric::kValues},
                             {"tokens-before", Metric::kTokensBefore},
                             {"tokens-after", Metric::kTokensAfter}};
const Words<Similarity> kSimilarities{{"cosine", Similarity::kCosine},
                                      {"dot", Similarity::kDot},
                                      {"euclidean", Similarity::kEuclidean}};
const Words<Partition> kPartitions = [] {
  Words<Partition> words;
  for (const Partition each : {Partition::kAlternating, Partition::kSequential, Partition::kRandom,
                               Partition::kByFrame, Partition::kCheckerboard}) {
    words[name_of(each)] = each;
  }
  return words;
}();
const Words<MergeMethod> kMethods{{"bipartite", MergeMethod::kBipartite},
                                  {"random-prune", MergeMethod::kRandomPrune},
                                  {"attention-prune", MergeMethod::kAttentionPrune},
                                  {"k-means", MergeMethod::kKMeans},
                                  {"greedy", MergeMethod::kGreedy}};
const Words<Combine> kCombines{{"weighted-mean", Combine::kWeightedMean},
                               {"mean", Combine::kMean},
                               {"max", Combine::kMax},
                               {"keep-one", Combine::kKeepOne}};

template <typename T>
std::vector<std::string> words_of(const Words<T>& words) {
  std::vector<std::string> names;
  for (const auto& [name, value] : words) names.push_back(name);
  return names;
}

template <typename T>
void add_word_option(CLI::App& command, const std::string& name, std::string& value,
                     const Words<T>& words, const std::string& help) {
  command.add_option(name, value, help)
      ->check(CLI::IsMember(words_of(words)))
      ->capture_default_str();
}

/// What the other methods, which exist to be compared with, do not look at.
void check_method(const ForwardSettings& settings, const ViTConfig& config) {
  const std::string& method = settings.method;
  const bool prunes = method == "random-prune" || method == "attention-prune";
  const bool pairs = method == "bipartite";
  struct Part {
    const char* option;
    std::string ForwardSettings::*value;
    bool used;
  };
  const Part parts[] = {{"--metric", &ForwardSettings::metric, !prunes},
                        {"--similarity", &ForwardSettings::similarity, pairs},
                        {"--partition", &ForwardSettings::partition, pairs},
                        {"--combine", &ForwardSettings::combine, !prunes}};
  const ForwardSettings usual;
  for (const Part& part : parts) {
    if (part.used || settings.*part.value == usual.*part.value) continue;
    throw Error(ErrorKind::kSettings, std::string(part.option) + ": found '" +
                                          settings.*part.value + "' with --method " + method +
                                          ", expected without: that method does not use it");
  }
  if (method == "attention-prune" && !config.class_token) {
    throw Error(ErrorKind::kSettings, "--method attention-prune: found with '" + config.name +
                                          "', expected with a model that has a class token: what "
                                          "it attends to stays");
  }
}

}  // namespace

CLI::Option* add_count(CLI::App& command, const char* name, int64_t& value, int64_t least,
                       const char* help) {
  return command.add_option(name, value, help)
      ->check(CLI::Range(least, int64_t{1} << 30))
      ->capture_default_str();
}

void add_forward_options(CLI::App& command, ForwardSettings& settings) {
  command.add_option("--device", settings.device, "auto, cpu, cuda or cuda:N")
      ->capture_default_str();
  command.add_option("--threads", settings.threads, "CPU threads; 0: one for each core")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  add_word_option(command, "--prop-attn", settings.prop_attn, kPropAttn, "proportional attention");
  auto partitions = words_of(kPartitions);
  partitions.push_back("auto");
  command.add_option("--partition", settings.partition, "how tokens are split; auto: by the model")
      ->check(CLI::IsMember(partitions))
      ->capture_default_str();
  add_word_option(command, "--metric", settings.metric, kMetrics, "what tokens are compared by");
  add_word_option(command, "--similarity", settings.similarity, kSimilarities,
                  "how they are compared");
  add_word_option(command, "--method", settings.method, kMethods, "how tokens are reduced");
  add_word_option(command, "--combine", settings.combine, kCombines, "how merged tokens combine");
  command
      .add_option("--static", settings.static_threshold,
                  "merge unchanged tubelets first: threshold in grey levels; negative: off")
      ->capture_default_str();
  command.add_option("--seed", settings.seed, "of what is random")->capture_default_str();
}

ForwardOptions forward_options(const ForwardSettings& settings, const ViTConfig& config,
                               const PreprocessSpec& preprocess) {
  check_method(settings, config);
  ForwardOptions options;
  options.prop_attn = kPropAttn.at(settings.prop_attn);
  options.metric = kMetrics.at(settings.metric);
  options.similarity = kSimilarities.at(settings.similarity);
  if (settings.partition != "auto") options.partition = kPartitions.at(settings.partition);
  options.method = kMethods.at(settings.method);
  options.combine = kCombines.at(settings.combine);
  options.seed = settings.seed;
  if (settings.static_threshold >= 0) {
    options.static_threshold = normalised_levels(settings.static_threshold, preprocess);
  }
  return options;
}

void check_static(const ForwardSettings& settings, int64_t frames) {
  if (settings.static_threshold < 0 || frames > 1) return;
  throw Error(ErrorKind::kSettings,
              "--static: found with a model of single frames, expected with clips (--clip-length)");
}

nlohmann::ordered_json to_json(const ForwardSettings& settings) {
  nlohmann::ordered_json out;
  out["method"] = settings.method;
  out["metric"] = settings.metric;
  out["similarity"] = settings.similarity;
  out["partition"] = settings.partition;
  out["combine"] = settings.combine;
  out["prop_attn"] = settings.prop_attn;
  out["static"] = nullptr;
  if (settings.static_threshold >= 0) out["static"] = settings.static_threshold;
  out["seed"] = settings.seed;
  return out;
}

std::string unusual(const ForwardSettings& settings) {
  const auto usual = to_json(ForwardSettings());
  const auto found = to_json(settings);
  std::ostringstream text;
  for (const auto& [name, value] : found.items()) {
    if (value == usual.at(name)) continue;
    text << (text.str().empty() ? "" : ", ") << name << ' ';
    if (value.is_string()) {
      text << value.get<std::string>();
    } else {
      text << value.get<double>();
    }
  }
  return text.str();
}

int use_threads(int threads) {
  at::set_num_threads(threads > 0 ? threads : usable_cores());
  return at::get_num_threads();
}

at::Device asked_device(const std::string& text) {
  try {
    const at::Device device = choose_device(text);
    // Now, before random weights make LibTorch look for its CUDA half (device.cpp). Whoever needs
    // it says what is missing.
    if (device.is_cuda()) why_no_libtorch_cuda();
    return device;
  } catch (const Error& error) {
    throw Error(error.kind(), "--" + std::string(error.what()));  // "device: …" is the property
  }
}

at::Device parse_device(const std::string& text) {
  if (text == "auto") {
    return why_no_libtorch_cuda().empty() ? choose_device(text) : at::Device(at::kCPU);
  }
  const at::Device device = asked_device(text);
  if (device.is_cuda()) require_libtorch(device);
  return device;
}

void require_libtorch(at::Device device) {
  if (why_no_libtorch_cuda().empty()) return;
  throw Error(ErrorKind::kDevice,
              "--device: '" + device_name(device) +
                  "' asked for, but this needs LibTorch's operators: " + why_no_libtorch_cuda());
}

at::ScalarType parse_precision(const std::string& text) {
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  if (text == "fp16") return at::kHalf;
  if (text == "int8") return at::kChar;
  throw Error(ErrorKind::kSettings,
              "--precision: found '" + text + "', expected fp32, bf16, fp16 or int8");
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::vector<std::string> split_specs(const std::vector<std::string>& values,
                                     const std::string& of_model) {
  std::vector<std::string> specs = values;
  if (values.size() == 1) {
    const bool lists = values[0].find(';') != std::string::npos;
    specs = split(values[0], lists ? ';' : ',');
    // "16,8,4;" is the way to write a single per-block list: nothing follows its ';'.
    if (lists) std::erase(specs, "");
    if (specs.empty()) {
      throw Error(ErrorKind::kSettings,
                  "--r: found '" + values[0] + "', expected at least one schedule");
    }
  }
  std::replace(specs.begin(), specs.end(), std::string("model"), of_model);
  return specs;
}

std::vector<int64_t> parse_counts(const std::string& text, const char* option) {
  std::vector<int64_t> counts;
  for (const auto& part : split(text, ',')) {
    int64_t count = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), count);
    if (error != std::errc{} || end != part.data() + part.size() || count < 1) {
      throw Error(ErrorKind::kSettings, std::string(option) + ": found '" + text +
                                            "', expected numbers >= 1 separated by commas");
    }
    counts.push_back(count);
  }
  return counts;
}

}  // namespace tome::cli
