// A folder of its own for each test, gone with it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "temporary_folder.h"

namespace tome::train {

class ScratchFolderTest : public ::testing::Test {
 private:
  const testing::TemporaryFolder own_;

 protected:
  const std::filesystem::path folder_ = own_.path();
};

}  // namespace tome::train
