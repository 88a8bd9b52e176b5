// Precompiled for the tests of elements: these headers take most of a compilation.
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
