// `tome`: token-merged Vision Transformers without a pipeline.
#pragma once

namespace tome::cli {

/// main(), apart so that it is compiled together with what it calls. @returns the exit status
int run_program(int argc, char** argv);

}  // namespace tome::cli
