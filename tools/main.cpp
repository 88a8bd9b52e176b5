// `tome`: token-merged Vision Transformers without a pipeline.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <opencv2/core/utils/logger.hpp>
#include <string>

#include "commands.h"
#include "tome_error.h"
#include "train/train_command.h"

namespace {

constexpr int kExitError = 2;

/// Prints one line, whatever the message holds: callers parse stderr line by line.
int fail(std::string text) {
  // LibTorch appends its C++ stack after the first line; nobody who runs a tool wants it.
  if (const size_t stack = text.find("\nException raised from"); stack != std::string::npos) {
    text.resize(stack);
  }
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::cerr << "tome: " << text << std::endl;
  return kExitError;
}

}  // namespace

int main(int argc, char** argv) {
  // OpenCV's decoders write to stderr by themselves, where one line of ours is promised.
  setenv("OPENCV_FFMPEG_LOGLEVEL", "-8", 0);
  // It has read this variable already, before main().
  if (std::getenv("OPENCV_LOG_LEVEL") == nullptr) {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
  }

  CLI::App app{"tome: Vision Transformers accelerated by token merging"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(TOME_VERSION));
  tome::cli::add_classify_command(app);
  tome::cli::add_eval_command(app);
  tome::cli::add_bench_command(app);
  tome::cli::add_train_command(app);
  tome::cli::add_demo_clip_command(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help and --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return fail(std::string(error.what()) + " (tome --help lists what there is)");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
  // A full disk shows only here.
  if (!std::cout.flush() || std::fflush(stdout) != 0) {
    return fail("standard output: cannot be written");
  }
  return EXIT_SUCCESS;
}
