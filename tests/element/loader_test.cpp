// The core library that is missing, broken or of another version; one process, one library, so the
// failures come first.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "element_fixture.h"

namespace tome::testing {
namespace {

/// Tries to go to READY with TOMEVIT_LIBRARY=library; the error's text.
std::string error_with(const char* library) {
  const std::string real = std::getenv("TOMEVIT_LIBRARY");
  setenv("TOMEVIT_LIBRARY", library, 1);
  LoneElement e({{"model", "m"}});
  EXPECT_FALSE(e.set_state(GST_STATE_READY));
  setenv("TOMEVIT_LIBRARY", real.c_str(), 1);
  GError* error = nullptr;
  const std::string text = e.error_text(&error);
  const Ptr<GError> owned(error);
  EXPECT_TRUE(g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND));
  return text;
}

TEST(Loader, SaysWhichLibraryIsMissingAndHowToInstallItAndFindsItLater) {
  const std::string text = error_with("/nonexistent/libtomevit.so.0");
  EXPECT_NE(text.find("/nonexistent/libtomevit.so.0"), std::string::npos) << text;
  EXPECT_NE(text.find("./setup.sh"), std::string::npos) << text;
  EXPECT_NE(text.find("LIBTORCH"), std::string::npos) << text;

  // A library whose own dependency is missing, as the core without LibTorch: the dependency's name.
  EXPECT_NE(error_with(BROKEN_CORE).find("libtomenotthere.so"), std::string::npos);

  // Another LibTorch that came first, whose name is all that counts for the dynamic linker.
  const std::string torch =
      std::filesystem::path(BROKEN_CORE).parent_path() / "torch" / "libtorch_cpu.so";
  EXPECT_EQ(error_with(BROKEN_CORE).find("libtorch_cpu.so"), std::string::npos);
  void* handle = dlopen(torch.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << dlerror();
  const std::string clash = error_with(BROKEN_CORE);
  dlclose(handle);
  EXPECT_NE(clash.find(torch), std::string::npos) << clash;
  EXPECT_NE(clash.find("libtomenotthere.so"), std::string::npos) << clash;

  EXPECT_NE(error_with("libm.so.6").find("tome_core_api"), std::string::npos);

  // Inspecting needs no core at all, and the next attempt finds the one that is there now.
  LoneElement e({{"model", "m"}});
  EXPECT_TRUE(e.set_state(GST_STATE_READY));
  EXPECT_EQ(FakeCore::instance().models(), 1);
}

}  // namespace
}  // namespace tome::testing
