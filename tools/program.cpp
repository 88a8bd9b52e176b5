#include "program.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <opencv2/core/utils/logger.hpp>
#include <string>
#include <utility>
#include <vector>

#include "commands.h"
#include "error_line.h"
#include "quiet_decoders.h"
#include "tome_error.h"
#include "train/train_command.h"

namespace tome::cli {
namespace {

constexpr int kExitError = 2;

/// The line for a command line that is wrong. CLI11 names what is missing before what is unknown,
/// which for a misspelt word is the wrong half.
std::string explained(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (!chosen.empty()) {
    const CLI::App& command = *chosen.front();
    const std::string help = " (tome " + command.get_name() + " --help lists what there is)";
    for (const std::string& word : command.remaining()) {
      if (word.starts_with("-")) return "there is no option '" + word + "'" + help;
    }
    return error.what() + help;
  }
  for (const std::string& word : app.remaining()) {
    if (!word.starts_with("-")) {
      return "there is no command '" + word + "' (tome --help lists what there is)";
    }
  }
  return std::string(error.what()) + " (tome --help lists what there is)";
}

int fail(std::string text) {
  // LibTorch appends its C++ stack after the first line; nobody who runs a tool wants it.
  for (const char* stack : {"\nException raised from", "frame #0:"}) {
    text.resize(std::min(text.find(stack), text.size()));
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  say(std::move(text));
  return kExitError;
}

}  // namespace

int run_program(int argc, char** argv) {
  open_standard_files();
  const OwnStderr own_stderr;
  // OpenCV writes to stderr by itself, where one line of ours is promised. This is for the encoders
  // of demo-clip, behind cv::VideoWriter.
  setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
  // And this for the rest of it; the variable it has read already, before main().
  if (std::getenv("OPENCV_LOG_LEVEL") == nullptr) {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  }

  CLI::App app{"tome: Vision Transformers accelerated by token merging"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(TOME_VERSION));
  add_classify_command(app);
  add_eval_command(app);
  add_bench_command(app);
  add_show_command(app);
  add_train_command(app);
  add_demo_clip_command(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help and --version
    app.exit(success);                     // prints it
  } catch (const CLI::ParseError& error) {
    return fail(explained(app, error));
  } catch (const std::exception& error) {
    return fail(error.what());
  }
  // A full disk shows only here.
  if (!std::cout.flush() || std::fflush(stdout) != 0) {
    return fail("standard output: cannot be written");
  }
  return EXIT_SUCCESS;
}

}  // namespace tome::cli
