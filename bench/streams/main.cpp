// Many streams through one model: what the elements make of the sources and the core they have.
//
//   streams [--streams 16] [--seconds 30] [--load 1.0] ...     prints one JSON object
//
// bench/streams.sh builds and runs it.
#include <gst/gst.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "architectures.h"
#include "core_alone.h"
#include "raw_frames.h"
#include "stream_run.h"

namespace tome::bench {
namespace {

/// A folder of its own under the system's temporary one, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tome-streams-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void print_core_alone(const StreamOptions& options) {
  CoreAlone core(options);
  core.measure(options.seconds);
  const nlohmann::ordered_json report{{"core_frames_per_s", core.frames_per_s()},
                                      {"batch_ms", core.batch_ms()}};
  std::printf("%s\n", report.dump().c_str());
}

int run(int argc, char** argv) {
  StreamOptions options;
  CLI::App app{"Measures many streams through one model"};
  app.add_option("--streams", options.streams, "streams")->check(CLI::Range(1, 1024));
  app.add_option("--seconds", options.seconds, "seconds of the measurement with the model")
      ->check(CLI::Range(1.0, 36000.0));
  app.add_option("--load", options.load,
                 "1: frames as fast as they are taken; anything else: live streams that together "
                 "bring this multiple of what the core can infer")
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--model", options.model, "model folder; default: a ViT-Ti/16 of random weights");
  app.add_option("--device", options.device, "auto, cpu or cuda");
  app.add_option("--precision", options.precision, "auto, fp32, bf16 or fp16");
  app.add_option("--r", options.schedule, "r schedule");
  app.add_option("--batch-size", options.batch_size, "batch size")->check(CLI::Range(1, 1024));
  app.add_option("--batch-timeout", options.batch_timeout_ms, "ms");
  std::vector<std::string> kinds;
  app.add_option("--source", kinds, "frames of the sources, FORMAT:WIDTHxHEIGHT; default: a mix")
      ->delimiter(',');
  bool core_only = false;
  app.add_flag("--core-only", core_only, "measures what the core does with these frames, no more");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  }
  gst_init(&argc, &argv);

  const ScratchFolder scratch;
  if (options.model.empty()) {
    options.model = (scratch.path() / "vit_tiny_patch16_224").string();
    save_checkpoint(cli::random_checkpoint("vit_tiny_patch16_224", 1), options.model);
  }
  std::vector<FrameKind> frames = kinds.empty() ? kMixedFrames : std::vector<FrameKind>{};
  for (const std::string& kind : kinds) frames.push_back(parse_frame_kind(kind));
  options.sources = make_raw_frames(options.streams, frames, scratch.path());
  if (core_only) {
    print_core_alone(options);
    return 0;
  }

  const bool live = options.load != 1.0;
  // Shares of the machine come and go, so what is compared is measured in turns.
  const int rounds = live ? 1 : 3;
  CoreAlone core(options);
  RunFigures sources;
  RunFigures all;
  for (int round = 0; round < rounds; ++round) {
    core.measure(std::clamp(options.seconds / 3, 2.0, 10.0) / (rounds == 1 ? 1 : 2));
    options.live_frames_per_s = live ? options.load * core.frames_per_s() : 0;
    measure_streams(options, /*classify=*/false, std::min(options.seconds, 5.0) / rounds, sources);
    measure_streams(options, /*classify=*/true, options.seconds / rounds, all);
  }
  core.measure(std::clamp(options.seconds / 3, 2.0, 10.0) / 2);

  const double frames_per_s = all.per_second(all.frames);
  const double sources_frames_per_s = sources.per_second(sources.frames);
  const double core_frames_per_s = core.frames_per_s();
  // Live sources and the core work at the same time: the slower one decides.
  const double together = live ? std::min(sources_frames_per_s, core_frames_per_s)
                               : 1 / (1 / sources_frames_per_s + 1 / core_frames_per_s);
  std::vector<double> per_stream;
  for (const uint64_t frames : all.per_stream) per_stream.push_back(all.per_second(frames));

  const nlohmann::ordered_json report{{"streams", options.streams},
                                      {"live", live},
                                      {"load", options.load},
                                      {"batch_size", options.batch_size},
                                      {"r", options.schedule},
                                      {"frames_per_s", frames_per_s},
                                      {"sources_frames_per_s", sources_frames_per_s},
                                      {"core_frames_per_s", core_frames_per_s},
                                      {"ratio", all.per_second(all.inferences) / together},
                                      {"latency_p50_ms", all.latency_ms(0.5)},
                                      {"latency_p99_ms", all.latency_ms(0.99)},
                                      {"batch_ms", core.batch_ms()},
                                      {"skipped", all.skipped},
                                      {"dropped", all.dropped},
                                      {"inferences", all.inferences},
                                      {"per_stream", per_stream}};
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace tome::bench

int main(int argc, char** argv) {
  try {
    return tome::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "streams: %s\n", error.what());
    return 2;
  }
}
