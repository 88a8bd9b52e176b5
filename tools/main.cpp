#include "program.h"

int main(int argc, char** argv) { return tome::cli::run_program(argc, argv); }
