// Many streams through one model: what the elements make of the sources and the core they have.
//
//   streams [--streams 16] [--seconds 30] [--load 1.0] ...     prints one JSON object
//
// bench/streams.sh builds and runs it.
#include <gst/gst.h>

#include <CLI/CLI.hpp>
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
  app.add_option("--r", options.schedule, "r schedule");
  app.add_option("--batch-size", options.batch_size, "batch size")->check(CLI::Range(1, 1024));
  app.add_option("--batch-timeout", options.batch_timeout_ms, "ms");
  CLI11_PARSE(app, argc, argv);
  gst_init(&argc, &argv);

  const ScratchFolder scratch;
  if (options.model.empty()) {
    options.model = (scratch.path() / "vit_tiny_patch16_224").string();
    save_checkpoint(cli::random_checkpoint("vit_tiny_patch16_224", 1), options.model);
  }
  options.sources = make_raw_frames(options.streams, scratch.path());

  const CoreFigures core = measure_core_alone(options);
  const bool live = options.load != 1.0;
  options.live_frames_per_s = live ? options.load * core.frames_per_s : 0;
  const RunFigures sources = measure_streams(options, /*classify=*/false);
  const RunFigures all = measure_streams(options, /*classify=*/true);
  const double together = 1 / (1 / sources.frames_per_s + 1 / core.frames_per_s);

  const nlohmann::ordered_json report{{"streams", options.streams},
                                      {"live", live},
                                      {"load", options.load},
                                      {"batch_size", options.batch_size},
                                      {"r", options.schedule},
                                      {"frames_per_s", all.frames_per_s},
                                      {"sources_frames_per_s", sources.frames_per_s},
                                      {"core_frames_per_s", core.frames_per_s},
                                      {"ratio", all.frames_per_s / together},
                                      {"latency_p50_ms", all.latency_p50_ms},
                                      {"latency_p99_ms", all.latency_p99_ms},
                                      {"batch_ms", core.batch_ms},
                                      {"skipped", all.skipped},
                                      {"dropped", all.dropped},
                                      {"inferences", all.inferences},
                                      {"per_stream", all.per_stream}};
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
