// Text from untrusted files: what becomes of it in messages, and what labels and names may hold.
#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"
#include "excerpt.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::ModelFolder;
using testing::write_file;

/// The text of the error that `folder` is refused with.
std::string refusal(const std::filesystem::path& folder, const LoadOptions& options = {}) {
  try {
    load_checkpoint(folder, options);
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(ErrorKind::kFormat));
    return error.what();
  }
  return "not refused";
}

/// A message is one short line, whatever the file holds. Its folder's path is the user's own.
void expect_line(const std::string& text, const std::vector<std::string>& words) {
  EXPECT_LT(text.size(), 600U) << text.substr(0, 2000);
  EXPECT_TRUE(is_one_line(text)) << text.substr(0, 2000);
  for (const auto& word : words) {
    EXPECT_NE(text.find(word), std::string::npos) << word << " is not in: " << text.substr(0, 2000);
  }
}

TEST(Excerpt, IsOneShortLine) {
  EXPECT_EQ(excerpt("plain"), "plain");
  EXPECT_EQ(excerpt(""), "");
  EXPECT_EQ(excerpt("a\nb\r\tc\x1B[1m\x7F"), "a\\nb\\r\\tc\\x1b[1m\\x7f");
  EXPECT_EQ(excerpt(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(excerpt("Kätzchen 猫 🐈"), "Kätzchen 猫 🐈");
  EXPECT_EQ(excerpt("\xC2\x85"), "\\xc2\\x85");  // U+0085, next line
  EXPECT_EQ(excerpt(std::string(64, 'a')), std::string(64, 'a'));
  EXPECT_EQ(excerpt(std::string(65, 'a')), std::string(64, 'a') + "…");
  EXPECT_EQ(excerpt("猫猫猫", 2), "猫猫…");
}

TEST(Excerpt, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(excerpt("a\xFFz"), "a\\xffz");
  for (const std::string bad :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\x80", "\xE7\x8C", "\xE7", "\xF0\x9F\x90", "\xC3("}) {
    EXPECT_FALSE(is_one_line(bad)) << excerpt(bad);
    EXPECT_EQ(excerpt(bad).substr(0, 2), "\\x");
    EXPECT_TRUE(is_one_line(excerpt(bad)));
  }
  for (const char* good : {"\xC2\xA0", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a\tb"}) {
    EXPECT_TRUE(is_one_line(good)) << excerpt(good);
  }
}

TEST(WholeCharacters, CutsBetweenCharactersAlone) {
  EXPECT_EQ(whole_characters("", 0), "");
  EXPECT_EQ(whole_characters("abc", 3), "abc");
  EXPECT_EQ(whole_characters("abc", 2), "ab");
  const std::string text = "aä猫🐈";  // of 1, 2, 3 and 4 bytes
  const std::vector<size_t> ends = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
  for (size_t most = 0; most < ends.size(); ++most) {
    EXPECT_EQ(whole_characters(text, most), text.substr(0, ends[most])) << most;
  }
  // What is no UTF-8 is cut all the same, and little of it is lost.
  const size_t kept = whole_characters(std::string(100, '\x80'), 50).size();
  EXPECT_LE(kept, 50U);
  EXPECT_GE(kept, 46U);
}

TEST(Messages, RepeatLittleOfASafetensorsHeader) {
  ModelFolder model("vit");
  const auto message = [&](const std::string& header) {
    model.write();
    write_file(model.path() / "model.safetensors",
               testing::safetensors_bytes(header, std::string(16, '\0')));
    return refusal(model.path());
  };
  const std::string rest = R"(","shape":[4],"data_offsets":[0,16]}})";
  expect_line(message(R"({"a":{"dtype":")" + std::string(5'000'000, 'x') + rest),
              {"tensor a", "unknown dtype \"xxx", "x…\"", "expected F64"});
  expect_line(message(R"({"a":{"dtype":"F\n\u0000)" + rest), {"F\\n\\x00"});
  const std::string name = R"(b\n\u001b)" + std::string(900, 'y');
  expect_line(message("{\"" + name + R"(":1})"), {"tensor b\\n\\x1by", "y… is not a JSON object"});
  expect_line(message("{\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})"),
              {"tensor b\\n\\x1b", "hole"});
  expect_line(message("{\"" + name + R"(":1,")" + name + R"(":1})"), {"key \"b\\n", "twice"});
  expect_line(message(R"({"\n)" + std::string(900, 'y') +
                      R"(":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
              {"tensor vit.", "missing"});
  // The parser's own text ends with the token that it read last.
  expect_line(message("{\"a\":\"" + std::string(5'000'000, 'z')), {"header", "not valid JSON"});
  expect_line(message("{\"a\":\n\x01\xFF"), {"not valid JSON"});
}

TEST(Messages, RepeatLittleOfLeftOverTensors) {
  ModelFolder model("vit");
  for (const char* end : {"1", "2", "3", "4", "5", "6"}) {
    model.tensors["\n" + std::string(900, 'y') + end] = at::ones({1});
  }
  expect_line(refusal(model.write()), {"6 tensors are left over", "\\nyyy", "y…"});
}

TEST(Messages, RepeatLittleOfAConfiguration) {
  ModelFolder model("timm_registers");
  const std::string longest(900, 'y');
  model.config["model_args"]["z\n" + longest] = 1;
  expect_line(refusal(model.write()),
              {"config.json: model_args", "found z\\ny", "arguments that are supported"});
  model.config["model_args"] = {{"global_pool", "\n" + longest}};
  expect_line(refusal(model.write()), {"global_pool is \"\\nyy", "expected token or avg"});
  model.config["architecture"] = "\x7F" + std::string(5'000'000, 'y');
  expect_line(refusal(model.write()), {"architecture is \"\\x7fyy", "…"});
}

TEST(Labels, OfConfigurationsAreCheckedAsThoseOfFiles) {
  ModelFolder model("timm_registers");  // five classes
  for (const std::string& bad :
       {std::string("a\0b", 3), std::string("a\nb"), std::string("a\rb"), std::string("\x1B[2J")}) {
    model.config["label_names"] = {"a", "b", "c", bad, "e"};
    expect_line(refusal(model.write()), {"config.json: label_names[3] is ", "control characters"});
    model.config["id2label"] = {{"0", "p"}, {"1", bad}, {"2", "r"}, {"3", "s"}, {"4", "t"}};
    expect_line(refusal(model.write()), {"config.json: id2label: 1 is ", "control characters"});
    model.config.erase("id2label");
    model.config.erase("label_names");
    model.config["pretrained_cfg"]["label_names"] = {bad, "b", "c", "d", "e"};
    expect_line(refusal(model.write()), {"pretrained_cfg: label_names[0] is "});
    model.config["pretrained_cfg"].erase("label_names");
    LoadOptions options;
    options.labels_file = model.path() / "mine.txt";
    write_file(*options.labels_file, "a\nb\nc" + bad + "\nd\ne\n");
    if (bad != "a\nb") expect_line(refusal(model.path(), options), {"mine.txt: line 3"});
  }
}

// transformers and timm write them; a file's empty line is more likely a slip that moves all
// others.
TEST(Labels, EmptyOnesOfConfigurationsAreNumbered) {
  ModelFolder model("timm_registers");
  model.config["label_names"] = {"a", "", "c\tc", "d", ""};
  EXPECT_EQ(load_checkpoint(model.write()).labels,
            (std::vector<std::string>{"a", "class 1", "c\tc", "d", "class 4"}));
  model.config["id2label"] = {{"0", ""}, {"1", "q"}, {"2", "r"}, {"3", "s"}, {"4", "t"}};
  EXPECT_EQ(load_checkpoint(model.write()).labels[0], "class 0");
}

TEST(Names, AreOneLine) {
  ModelFolder fixture("vit");
  const Checkpoint checkpoint = load_checkpoint(fixture.write());
  const testing::TemporaryFolder folder;
  const auto saved = folder.path() / "model\n\xFF";
  save_checkpoint(checkpoint, saved);
  auto config = nlohmann::json::parse(testing::read_file(saved / "config.json"));
  for (const char* key : {"name", "family"}) {
    const auto kept = config[key];
    config[key] = std::string("a\0b\n", 4);
    write_file(saved / "config.json", config.dump());
    const std::string text = refusal(saved);
    EXPECT_NE(text.find(std::string(key) + R"( is "a\u0000b\n", expected)"), std::string::npos)
        << text;
    config[key] = kept;
  }
  config["name"] = "";
  write_file(saved / "config.json", config.dump());
  EXPECT_EQ(load_checkpoint(saved).config.name, "model\\n\\xff") << "which results print";
}

TEST(Schedules, ThatAModelCannotHaveNameItsFile) {
  ModelFolder model("vit");  // two blocks
  const auto refused = [&](const nlohmann::json& spec, const std::vector<std::string>& words) {
    model.config["tome_r"] = spec;
    const std::string text = refusal(model.write());
    expect_line(text, words);
    expect_line(text, {(model.path() / "config.json").string() + ": tome_r: r schedule '"});
  };
  refused("16:abc", {"'16:abc'", "inflection"});
  refused("", {"''", "empty"});
  refused(-3, {"'-3'", "negative"});
  refused(UINT64_MAX, {"18446744073709551615"});
  refused("1,1,1,1", {"4 values, but the model has 2 blocks"});
  refused("keep=0.0001", {"least"});
  refused(std::string(5'000'000, '\n') + "x\n" + std::string(5'000'000, '\x1B'), {"…'"});
  model.config["tome_r"] = "1,1";
  EXPECT_EQ(load_checkpoint(model.write()).default_schedule, "1,1");
}

}  // namespace
}  // namespace tome
