// Seeded mutations of model folders: each loads or throws tome::Error; none crashes, hangs or
// allocates without bound.
#include <sys/resource.h>

#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::fixtures;
using testing::read_file;
using testing::write_file;

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  // One to four edits of `text` within its first `reach` bytes.
  std::string mutate(std::string text, size_t reach) {
    const int edits = 1 + below(4);
    for (int i = 0; i < edits && !text.empty(); ++i) edit(text, std::min(reach, text.size()));
    return text;
  }

 private:
  int below(size_t count) { return static_cast<int>(random_() % count); }

  void edit(std::string& text, size_t reach) {
    static const std::vector<std::string> kTokens{"0",
                                                  "-1",
                                                  "1e308",
                                                  "18446744073709551615",
                                                  "9223372036854775807",
                                                  "null",
                                                  "true",
                                                  "[[[[",
                                                  "{}",
                                                  "\"\"",
                                                  "\"F64\"",
                                                  "\"I8\"",
                                                  "{",
                                                  "]",
                                                  "\xFF",
                                                  "1.5",
                                                  ",",
                                                  "\\u0000",
                                                  "4294967296",
                                                  "[]",
                                                  "\"vivit\""};
    const size_t place = below(reach);
    switch (below(6)) {
      case 0:
        text[place] = static_cast<char>(random_());
        break;
      case 1:
        text[place] = static_cast<char>(text[place] ^ (1 << below(8)));
        break;
      case 2:
        text.erase(place, 1 + below(8));
        break;
      case 3:
        text.insert(place, kTokens[below(kTokens.size())]);
        break;
      case 4:
        replace_number(text, place);
        break;
      default:
        text.resize(place);
    }
  }

  // The next number behind `place` becomes another one.
  void replace_number(std::string& text, size_t place) {
    const size_t begin = text.find_first_of("0123456789", place);
    if (begin == std::string::npos) return;
    const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    static const std::vector<std::string> kNumbers{"0",          "1",  "3",          "16", "65536",
                                                   "4294967296", "-2", "2147483648", "1e9"};
    text.replace(begin, end - begin, kNumbers[below(kNumbers.size())]);
  }

  std::mt19937 random_;
};

// Loads `folder`; true if it threw.
bool throws(const std::filesystem::path& folder) {
  try {
    load_checkpoint(folder);
    return false;
  } catch (const Error& error) {
    EXPECT_FALSE(std::string(error.what()).empty());
    return true;
  }  // anything else fails the test
}

class Mutations : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto from = fixtures() / "hf" / GetParam();
    for (const char* name : {"config.json", "model.safetensors", "preprocessor_config.json"}) {
      if (std::filesystem::exists(from / name)) originals_[name] = read_file(from / name);
    }
  }

  // Mutates one file `rounds` times; the header is where a safetensors file can lie.
  int count_refused(const std::string& name, int rounds, size_t reach) {
    const testing::TemporaryFolder folder;
    for (const auto& [other, bytes] : originals_) write_file(folder.path() / other, bytes);
    Mutator mutator(static_cast<uint32_t>(std::hash<std::string>{}(GetParam() + name)));
    int refused = 0;
    for (int i = 0; i < rounds; ++i) {
      write_file(folder.path() / name, mutator.mutate(originals_[name], reach));
      refused += throws(folder.path()) ? 1 : 0;
    }
    return refused;
  }

  std::map<std::string, std::string> originals_;
};

TEST_P(Mutations, OfTheSafetensorsHeader) {
  const auto& bytes = originals_["model.safetensors"];
  size_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | static_cast<uint8_t>(bytes[i]);
  EXPECT_GT(count_refused("model.safetensors", 400, 8 + header), 300);
}

TEST_P(Mutations, OfTheConfiguration) {
  EXPECT_GT(count_refused("config.json", 400, std::string::npos), 100);
}

TEST_P(Mutations, OfThePreprocessing) {
  if (originals_.count("preprocessor_config.json") == 0) GTEST_SKIP() << "timm has no such file";
  EXPECT_GT(count_refused("preprocessor_config.json", 200, std::string::npos), 50);
}

INSTANTIATE_TEST_SUITE_P(Families, Mutations,
                         ::testing::Values("vit", "deit_distilled", "siglip",
                                           "dinov2_with_registers", "videomae", "vivit",
                                           "timm_registers"));

// Of the list of files that weights are split into.
TEST(Mutations, OfTheIndex) {
  testing::ModelFolder model("vit");
  std::filesystem::rename(model.write() / "model.safetensors", model.path() / "m.safetensors");
  nlohmann::json index;
  for (const auto& [name, tensor] : model.tensors) index["weight_map"][name] = "m.safetensors";
  Mutator mutator(7);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    write_file(model.path() / "model.safetensors.index.json",
               mutator.mutate(index.dump(), std::string::npos));
    refused += throws(model.path()) ? 1 : 0;
  }
  EXPECT_GT(refused, 300);
}

// A small file must not make us allocate much: configurations that ask for huge models.
TEST(Mutations, HugeSizesAllocateNothing) {
  testing::ModelFolder model("videomae");
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  const std::vector<std::pair<std::string, nlohmann::json>> lies{
      {"hidden_size", 65536},        {"num_hidden_layers", 4096}, {"intermediate_size", 1048576},
      {"num_frames", 4096},          {"image_size", 2040},        {"num_attention_heads", 1},
      {"image_size", {16384, 16384}}};
  for (const auto& [key, value] : lies) {
    const auto kept = model.config[key];
    model.config[key] = value;
    model.write();
    try {
      load_checkpoint(model.path());
    } catch (const Error&) {
      // refused before anything of that size was made
    }
    model.config[key] = kept;
  }
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "KiB";
}

// Nor must a labels file: 16 million labels are counted before one of them becomes a string.
TEST(Mutations, ManyLabelsAllocateNothing) {
  testing::ModelFolder model("vit");
  LoadOptions options;
  options.labels_file = model.write() / "many.txt";
  std::string text;
  for (int i = 0; i < 1 << 24; ++i) text += "a\n";
  write_file(*options.labels_file, text);
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  testing::expect_error([&] { load_checkpoint(model.path(), options); }, ErrorKind::kFormat,
                        {"many.txt", "16777216 labels, expected 3"});
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024) << "KiB";
}

}  // namespace
}  // namespace tome
