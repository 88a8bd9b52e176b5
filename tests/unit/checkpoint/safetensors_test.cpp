// The safetensors format: what it says, and every way a file can lie.
#include "checkpoint/safetensors.h"

#include <sys/stat.h>

#include <chrono>

#include "checkpoint_test_util.h"
#include "shared_data.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::little_endian;
using testing::safetensors_bytes;
using testing::TemporaryFolder;
using testing::write_file;

class SafetensorsFormat : public ::testing::Test {
 protected:
  SafetensorsFile open(const std::string& bytes) {
    write_file(path(), bytes);
    return SafetensorsFile::open(path());
  }
  void refuses(const std::string& bytes, const std::vector<std::string>& words,
               ErrorKind kind = ErrorKind::kFormat) {
    SCOPED_TRACE(bytes.substr(0, 120));
    expect_error([&] { open(bytes); }, kind, words);
  }
  void refuses_header(const std::string& header, const std::vector<std::string>& words,
                      size_t data = 16) {
    refuses(safetensors_bytes(header, std::string(data, '\0')), words);
  }
  std::filesystem::path path() const { return folder_.path() / "x.safetensors"; }

 private:
  TemporaryFolder folder_;
};

TEST_F(SafetensorsFormat, ReadsEveryDtypeUnaligned) {
  // The byte of `a` puts everything behind it at odd places. Values by their bit patterns.
  const std::string data = std::string("\x01", 1) + std::string("\x00\x00\xC0\x3F", 4) +
                           std::string("\x00\x3E", 2) + std::string("\xC0\x3F", 2) +
                           std::string("\x00\x00\x00\x00\x00\x00\xF8\x3F", 8) + little_endian(7) +
                           std::string("\xFE\xFF\xFF\xFF", 4) + std::string("\x05\x00", 2) +
                           std::string("\xFF\xFE", 2);
  const auto file = open(safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},
          "a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},
          "b":{"dtype":"F32","shape":[1,1],"data_offsets":[1,5]},
          "c":{"dtype":"F16","shape":[1],"data_offsets":[5,7]},
          "d":{"dtype":"BF16","shape":[1],"data_offsets":[7,9]},
          "e":{"dtype":"F64","shape":[1],"data_offsets":[9,17]},
          "f":{"dtype":"I64","shape":[1],"data_offsets":[17,25]},
          "g":{"dtype":"I32","shape":[1],"data_offsets":[25,29]},
          "h":{"dtype":"I16","shape":[1],"data_offsets":[29,31]},
          "i":{"dtype":"U8","shape":[1],"data_offsets":[31,32]},
          "j":{"dtype":"I8","shape":[1],"data_offsets":[32,33]},
          "k":{"dtype":"F32","shape":[0,3],"data_offsets":[33,33]}}  )",
      data));
  EXPECT_EQ(file.names().size(), 11U);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const std::map<std::string, double> expected{{"a", 1},   {"b", 1.5}, {"c", 1.5}, {"d", 1.5},
                                               {"e", 1.5}, {"f", 7},   {"g", -2},  {"h", 5},
                                               {"i", 255}, {"j", -2}};
  for (const auto& [name, value] : expected) {
    EXPECT_EQ(file.tensor(name).to(at::kDouble).item<double>(), value) << name;
  }
  EXPECT_EQ(file.tensor("b").sizes().vec(), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(file.tensor("k").sizes().vec(), (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(file.dtype("d"), at::kBFloat16);
  EXPECT_FALSE(file.has("z"));
  expect_error([&] { file.tensor("z"); }, ErrorKind::kFormat, {"x.safetensors", "z", "missing"});
}

TEST_F(SafetensorsFormat, TensorsOutliveTheFile) {
  write_safetensors(path(), {{"x", at::arange(6, at::kFloat)}});
  const at::Tensor x = SafetensorsFile::open(path()).tensor("x");
  std::filesystem::remove(path());
  EXPECT_TRUE(at::equal(x, at::arange(6, at::kFloat)));
}

TEST_F(SafetensorsFormat, WritesWhatItReads) {
  const std::map<std::string, at::Tensor> tensors{
      {"strided", at::arange(12, at::kFloat).reshape({3, 4}).t()},
      {"half", at::randn({3}).to(at::kHalf)},
      {"bytes", at::arange(5).to(at::kByte)},
      {"empty", at::empty({0, 2})},
      {"scalar", at::scalar_tensor(4.0, at::kDouble)}};
  write_file(path().string() + ".part999999999-7",
             std::string(5000, 'x'));  // a kill in the middle left it
  write_safetensors(path(), tensors, {{"k", "v"}});
  const auto file = SafetensorsFile::open(path());
  ASSERT_EQ(file.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file.dtype(name), tensor.scalar_type());
    EXPECT_TRUE(at::equal(file.tensor(name), tensor)) << name;
  }
  EXPECT_EQ(file.metadata().at("k"), "v");
  // Nothing else is left in the folder: the temporary file was renamed.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path().parent_path()), {}), 1);
}

TEST_F(SafetensorsFormat, ReadsTheReferenceWritersFiles) {
  TOME_NEEDS_SHARED_DATA("parity/vit_tiny.safetensors");
  const auto file =
      SafetensorsFile::open(testing::shared_data() / "parity" / "vit_tiny.safetensors");
  EXPECT_EQ(file.shape("weights.patch_embed.proj.weight"), (std::vector<int64_t>{64, 3, 8, 8}));
  EXPECT_EQ(file.tensor("unpatched.logits").sizes().vec(), (std::vector<int64_t>{3, 10}));
}

TEST_F(SafetensorsFormat, RefusesFilesThatAreNone) {
  expect_error([&] { SafetensorsFile::open(path()); }, ErrorKind::kNotFound, {"x.safetensors"});
  refuses("", {"x.safetensors", "truncated"}, ErrorKind::kRead);
  refuses("1234567", {"truncated", "7 bytes"}, ErrorKind::kRead);
  expect_error([&] { SafetensorsFile::open(path().parent_path()); }, ErrorKind::kRead,
               {"not a regular file"});
  const auto fifo = path().parent_path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  expect_error([&] { SafetensorsFile::open(fifo); }, ErrorKind::kRead, {"not a regular file"});
}

TEST_F(SafetensorsFormat, RefusesHeadersThatLie) {
  refuses(little_endian(UINT64_MAX) + "{}", {"18446744073709551615", "truncated"});
  refuses(little_endian(UINT64_MAX - 7) + "{}", {"truncated"});
  refuses(little_endian(3) + "{}", {"header of 3 bytes", "10"});
  refuses(little_endian(0), {"not a JSON object"});
  refuses_header("[1]", {"not a JSON object"});
  refuses_header("{\"a\":", {"not valid JSON"});
  refuses_header("{\"a\":\"\xFF\"}", {"not valid JSON"});
  refuses_header(std::string("{\"a\":") + std::string(100000, '['), {"nested deeper"});
  refuses_header("{\"" + std::string(1001, 'a') + "\":1}", {"a key of 1001 bytes"});
  std::string values = "{\"a\":[0";
  for (int i = 0; i < 1'000'000; ++i) values += ",0";
  refuses_header(values + "]}", {"more than 1000000 values"});
  refuses_header(R"({"a":1})", {"tensor a", "not a JSON object"});
  refuses_header(R"({"__metadata__":[]})", {"__metadata__"});
  refuses_header(R"({"a":{"shape":[4],"data_offsets":[0,16]}})", {"tensor a", "dtype", "missing"});
  refuses_header(R"({"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}})", {"F99", "F32"});
  refuses_header(R"({"a":{"dtype":7,"shape":[4],"data_offsets":[0,16]}})", {"dtype"});
  refuses_header(R"({"a":{"dtype":"F32","shape":4,"data_offsets":[0,16]}})", {"shape"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})", {"shape"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}})", {"shape"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}})", {"data_offsets"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":["0",16]}})", {"data_offsets"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},
                     "a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
                 {"\"a\"", "twice"});
}

// Reading is linear in a header's length: at 200,000 objects in one list, which a parser that looks
// at all its siblings takes minutes for.
TEST_F(SafetensorsFormat, ALongHeaderTakesNoLongTime) {
  std::string header = "{\"__metadata__\":[{}";
  for (int i = 0; i < 200'000; ++i) header += ",{}";
  const auto started = std::chrono::steady_clock::now();
  refuses_header(header + "]}", {"__metadata__"});
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::seconds(20));
}

TEST_F(SafetensorsFormat, RefusesOffsetsAndShapesThatDoNotFit) {
  const auto tensor = [](const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}}";
  };
  refuses_header(tensor("4", "0,17"), {"tensor a", "[0, 17]", "16 bytes"});
  refuses_header(tensor("4", "16,0"), {"tensor a"});
  refuses_header(tensor("4", "0,18446744073709551615"), {"tensor a", "2^63"});
  refuses_header(tensor("3", "0,16"), {"tensor a", "16 bytes", "12"});
  // 4 * 2^31 * 2^31 is 0 modulo 2^64.
  refuses_header(tensor("2147483648,2147483648,4", "0,0"), {"overflow"});
  refuses_header(tensor("4611686018427387905", "0,4"), {"overflow"});
  refuses_header(tensor("9223372036854775807,9223372036854775807,0", "0,0"), {"overflow"});
  refuses_header(tensor("1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4", "0,16"), {"shape"});
  refuses_header(tensor("2", "0,8"), {"cover 8 bytes", "16"});
  refuses_header(tensor("2", "8,16"), {"starts at byte 8", "hole"});
  refuses_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},
                     "b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                 {"tensor b", "overlap"});
}

TEST_F(SafetensorsFormat, RefusesEveryTruncation) {
  write_safetensors(path(), {{"a", at::ones({3})}, {"b", at::ones({2, 2})}});
  const std::string whole = testing::read_file(path());
  for (size_t size = 0; size < whole.size(); ++size) {
    write_file(path(), whole.substr(0, size));
    EXPECT_THROW(SafetensorsFile::open(path()), Error) << size;
  }
  write_file(path(), whole + "x");
  EXPECT_THROW(SafetensorsFile::open(path()), Error);
}

TEST_F(SafetensorsFormat, WriterNamesWhatItCannotDo) {
  expect_error(
      [&] {
        write_safetensors(path(), {{"c", at::empty({1}, at::kComplexFloat)}});
      },
      ErrorKind::kSettings, {"tensor c"});
  expect_error([&] { write_safetensors(path() / "no" / "folder", {}); }, ErrorKind::kFailed,
               {"cannot be written"});
}

}  // namespace
}  // namespace tome
