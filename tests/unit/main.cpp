#include <gtest/gtest.h>

#include "../named_files.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return tome::testing::run_named(argc, argv);
}
