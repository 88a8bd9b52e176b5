// Weights in several files, and weights that are no classifier's.
#include "checkpoint/weight_files.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::expect_error;
using testing::ModelFolder;
using testing::read_file;
using testing::refuses;
using testing::TemporaryFolder;
using testing::Tensors;
using testing::write_file;
using Json = nlohmann::json;

/// A model whose tensors are dealt out to three files, as save_pretrained(max_shard_size=…) does.
class Sharded {
 public:
  explicit Sharded(const std::string& fixture) : whole(fixture) {
    size_t next = 0;
    for (const auto& [name, tensor] : whole.tensors) {
      const std::string file = file_name(next++ % 3);
      shards[file][name] = tensor;
      index["weight_map"][name] = file;
    }
    index["metadata"] = {{"total_size", 1234}};
  }
  static std::string file_name(size_t number) {
    return "model-0000" + std::to_string(number + 1) + "-of-00003.safetensors";
  }
  const std::filesystem::path& write() {
    whole.write();
    std::filesystem::remove(path() / "model.safetensors");
    for (const auto& [file, tensors] : shards) {
      write_file(path() / file, testing::safetensors_bytes(tensors));
    }
    write_file(path() / "model.safetensors.index.json", index.dump());
    return path();
  }
  const std::filesystem::path& path() const { return whole.path(); }

  ModelFolder whole;
  std::map<std::string, Tensors> shards;
  Json index;
};

/// Everything that was read, as the bytes of a folder of our own.
std::string saved(const Checkpoint& checkpoint) {
  const TemporaryFolder folder;
  save_checkpoint(checkpoint, folder.path());
  return read_file(folder.path() / "model.safetensors");
}

TEST(Shards, AreTheModelInOneFile) {
  for (const char* fixture : {"vit", "deit_distilled", "videomae", "timm_registers"}) {
    SCOPED_TRACE(fixture);
    Sharded model(fixture);
    const std::string sharded = saved(load_checkpoint(model.write()));
    EXPECT_EQ(sharded, saved(load_checkpoint(model.whole.write())));
  }
}

TEST(Shards, AreReadOnlyWhereThereIsNoWholeFile) {
  Sharded model("vit");
  model.write();
  write_file(model.path() / "model.safetensors.index.json", "nonsense");
  refuses(model.path(), ErrorKind::kFormat, {"model.safetensors.index.json", "not valid JSON"});
  model.whole.write();
  EXPECT_EQ(load_checkpoint(model.path()).config.classes, 3);
}

TEST(Shards, MayBeSymlinksAsInTheHubsCache) {
  Sharded model("vit");
  model.write();
  const TemporaryFolder snapshot;
  for (const auto& entry : std::filesystem::directory_iterator(model.path())) {
    std::filesystem::create_symlink(entry.path(), snapshot.path() / entry.path().filename());
  }
  EXPECT_EQ(load_checkpoint(snapshot.path()).config.classes, 3);
}

TEST(Shards, LieInTheFolderItself) {
  Sharded model("vit");
  const auto outside = model.write().parent_path() / "tome-test-outside.safetensors";
  std::filesystem::copy(model.path() / Sharded::file_name(0), outside);
  auto& name = model.index["weight_map"]["classifier.bias"];
  for (const Json& bad :
       {Json("../tome-test-outside.safetensors"), Json(outside.string()), Json("a/b.safetensors"),
        Json("config.json"), Json(".."), Json(""), Json(7), Json(nullptr), Json("a\n.safetensors"),
        Json(std::string(300, 'a') + ".safetensors")}) {
    SCOPED_TRACE(bad.dump());
    name = bad;
    refuses(model.write(), ErrorKind::kFormat,
            {"index.json: weight_map: classifier.bias is ", "file in the same folder"});
  }
  std::filesystem::remove(outside);
  name = std::string("a\0.safetensors", 14);
  refuses(model.write(), ErrorKind::kFormat, {"classifier.bias is \"a\\u0000.saf"});
}

TEST(Shards, HoldWhatTheIndexSays) {
  Sharded model("vit");
  const std::string first = Sharded::file_name(0);
  const std::string second = Sharded::file_name(1);
  std::filesystem::remove(model.write() / second);
  refuses(model.path(), ErrorKind::kNotFound, {second});

  auto& name = model.index["weight_map"]["classifier.weight"];
  const std::string right = name;
  name = right == first ? second : first;
  refuses(model.write(), ErrorKind::kFormat,
          {"index.json: tensor classifier.weight is not in " + name.get<std::string>()});
  name = right;
  model.index["weight_map"]["no.such"] = first;
  refuses(model.write(), ErrorKind::kFormat, {"tensor no.such is not in " + first});
  model.index["weight_map"].erase("no.such");

  const at::Tensor weight = model.shards[right]["classifier.weight"];
  const std::string other = right == first ? second : first;
  model.shards[other]["classifier.weight"] = weight;
  refuses(model.write(), ErrorKind::kFormat, {"tensor classifier.weight is in ", right, other});
  model.shards[other].erase("classifier.weight");

  model.shards[right]["classifier.weight"] = weight.to(at::kInt);
  refuses(model.write(), ErrorKind::kFormat, {right + ": tensor classifier.weight", "Int"});
  model.shards[right]["classifier.weight"] = weight;
  model.shards[first]["surprise"] = at::ones({1});
  refuses(model.write(), ErrorKind::kFormat, {"index.json: 1 tensor is left over", "surprise"});
}

TEST(Shards, NeedAnIndexOfTensors) {
  Sharded model("vit");
  for (const Json& bad : {Json(), Json::array(), Json("x")}) {
    model.index["weight_map"] = bad;
    refuses(model.write(), ErrorKind::kFormat, {"model.safetensors.index.json: weight_map"});
  }
  model.index["weight_map"] = Json::object();
  refuses(model.write(), ErrorKind::kFormat, {"model.safetensors.index.json: tensor", "missing"});
}

void drop(Tensors& tensors, const std::string& prefix) {
  std::erase_if(tensors, [&](const auto& each) { return each.first.starts_with(prefix); });
}

// Families' heads by their own names, and the words of whoever has none.
TEST(Backbones, AreToldThatTheyHaveNoClassifier) {
  const std::vector<std::pair<std::string, std::string>> heads{
      {"vit", "classifier."},    {"deit", "classifier."},   {"videomae", "classifier."},
      {"vivit", "classifier."},  {"timm_average", "head."}, {"timm_registers", "head."},
      {"timm_pre_norm", "head."}};
  for (const auto& [fixture, head] : heads) {
    SCOPED_TRACE(fixture);
    ModelFolder model(fixture);
    drop(model.tensors, head);
    if (model.config.contains("num_classes")) model.config["num_classes"] = 0;
    refuses(model.write(), ErrorKind::kFormat,
            {"model.safetensors: has no classifier (tensor " + head + "weight is missing)",
             "a backbone, expected a model fine-tuned to classify"});
  }
}

// As ViTModel, not ViTForImageClassification, saves them.
TEST(Backbones, OfTransformersAreNamedWithoutPrefix) {
  for (const std::string family : {"vit", "deit", "videomae", "vivit"}) {
    SCOPED_TRACE(family);
    ModelFolder model(family);
    Tensors bare;
    for (const auto& [name, tensor] : model.tensors) {
      if (name.starts_with(family + ".")) bare[name.substr(family.size() + 1)] = tensor;
    }
    model.tensors = bare;
    refuses(model.write(), ErrorKind::kFormat, {"has no classifier", "backbone"});
  }
}

// With a head, but all names under a prefix that we do not know: no word of backbones.
TEST(Backbones, AreNotWhatHasOtherNames) {
  ModelFolder model("timm_average");
  Tensors prefixed;
  for (const auto& [name, tensor] : model.tensors) prefixed["module." + name] = tensor;
  model.tensors = prefixed;
  refuses(model.write(), ErrorKind::kFormat, {"tensor patch_embed.proj.weight is missing"});
}

}  // namespace
}  // namespace tome
