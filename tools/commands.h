// The subcommands of `tome`. Each adds itself to the program and runs from its own callback.
#pragma once

#include <CLI/CLI.hpp>

namespace tome::cli {

void add_classify_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_show_command(CLI::App& app);

}  // namespace tome::cli
