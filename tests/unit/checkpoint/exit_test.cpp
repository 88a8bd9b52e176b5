// exit() destroys globals while threads of streams may still load models: what loading needs must
// outlive it.
#include <unistd.h>

#include <cstring>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_spec.h"
#include "checkpoint/preprocess_config.h"
#include "checkpoint_test_util.h"
#include "shared_data.h"

namespace tome {
namespace {

using Json = nlohmann::json;

// Takes what has been freed, so that it no longer looks as it did.
void reuse_freed_memory() {
  for (size_t size = 16; size <= 256; size += 8) {
    for (int i = 0; i < 64; ++i) {
      void* volatile kept = std::malloc(size);
      std::memset(kept, 0x5A, size);
    }
  }
}

std::function<void()> at_exit;

// `call` again, as the last that the process does, and ends it with 0.
void call_behind_destructors(const std::function<void()>& call) {
  at_exit = call;
  // Before the first call, so that all it leaves to be destroyed goes before this.
  std::atexit([] {
    reuse_freed_memory();
    at_exit();
    ::_exit(0);
  });
  call();
  std::exit(1);
}

TEST(AtExit, TimmWithoutArguments) {
  const Json json{{"architecture", "vit_tiny_patch16_224"}};
  const auto call = [&] { read_model_spec(ConfigObject(json, "config.json")); };
  EXPECT_EXIT(call_behind_destructors(call), ::testing::ExitedWithCode(0), "");
}

TEST(AtExit, SiglipWithoutItsTower) {
  const Json json{{"model_type", "siglip"}};
  const auto call = [&] { read_model_spec(ConfigObject(json, "config.json")); };
  EXPECT_EXIT(call_behind_destructors(call), ::testing::ExitedWithCode(0), "");
}

TEST(AtExit, NoPreprocessingFile) {
  const auto call = [] { read_hf_preprocess(std::nullopt, "vit", {224, 224}, {224, 224}); };
  EXPECT_EXIT(call_behind_destructors(call), ::testing::ExitedWithCode(0), "");
}

// In a whole load, for which LibTorch must have made its own globals before.
TEST(AtExit, MaeStWithoutPreprocessing) {
  TOME_NEEDS_SHARED_DATA("parity/video_tiny.safetensors");
  const auto weights = testing::shared_data() / "parity" / "video_tiny.safetensors";
  testing::ModelFolder model({{"model_type", "mae_st"},
                              {"img_size", 32},
                              {"patch_size", 8},
                              {"num_frames", 8},
                              {"embed_dim", 64},
                              {"depth", 4},
                              {"num_heads", 4}},
                             testing::read_tensors(weights, "weights."));
  const auto folder = model.write();
  const auto call = [&] {
    load_checkpoint(testing::fixtures() / "hf" / "vit");
    call_behind_destructors([&] { load_checkpoint(folder); });
  };
  EXPECT_EXIT(call(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace tome
