// Precompiled for the unit tests without LibTorch.
#include <gtest/gtest.h>
