// Where configurations keep their labels, in the forms that timm and transformers write.
#include "checkpoint/checkpoint.h"
#include "checkpoint_test_util.h"

namespace tome {
namespace {

using testing::ModelFolder;
using Json = nlohmann::json;
using Labels = std::vector<std::string>;

const Labels kAnimals{"ant", "bee", "cat", "dog", "eel"};  // the fixtures have five classes

Labels labels_of(ModelFolder& model) { return load_checkpoint(model.write()).labels; }

void refuses(ModelFolder& model, const std::vector<std::string>& words) {
  testing::expect_error([&] { load_checkpoint(model.write()); }, ErrorKind::kFormat, words);
}

// timm's _parse_model_cfg: a configuration without pretrained_cfg is one itself, whose `labels` are
// its label_names.
TEST(Labels, OfTimmsOldForm) {
  ModelFolder model("timm_average");
  const Json pretrained = model.config["pretrained_cfg"];
  model.config.erase("pretrained_cfg");
  model.config.update(pretrained);
  model.config["labels"] = kAnimals;
  EXPECT_EQ(labels_of(model), kAnimals);
  model.config["label_names"] = {"a", "b", "c", "d", "e"};
  EXPECT_EQ(labels_of(model)[0], "a");
  model.config.erase("label_names");
  model.config["labels"] = {"ant"};
  refuses(model, {"config.json: labels: 1 labels, expected 5"});
  model.config["labels"] = 7;
  refuses(model, {"config.json: labels is 7, expected a list"});
}

TEST(Labels, UnderTheirDeprecatedNameBesidePretrainedCfg) {
  ModelFolder model("timm_average");
  model.config["labels"] = kAnimals;
  EXPECT_EQ(labels_of(model), kAnimals);
  model.config["pretrained_cfg"]["label_names"] = {"a", "b", "c", "d", "e"};
  EXPECT_EQ(labels_of(model)[4], "e");
}

TEST(Labels, ThatAreNumbersAreTheirText) {
  ModelFolder model("timm_average");
  model.config["id2label"] = {{"0", 0}, {"1", 10}, {"2", -2}, {"3", 0.5}, {"4", "four"}};
  EXPECT_EQ(labels_of(model), (Labels{"0", "10", "-2", "0.5", "four"}));
  for (const Json& value : {Json(true), Json(Json::array()), Json(Json::object())}) {
    model.config["id2label"]["3"] = value;
    refuses(model, {"config.json: id2label: 3 is " + value.dump(), "expected a string"});
  }
}

// timm's save_config_for_hf: "can be a dict id: name if there are id gaps".
TEST(Labels, OfAMapWithGaps) {
  ModelFolder model("timm_average");
  model.config["label_names"] = {
      {"4", "eel"}, {"0", "ant"}, {"1", "bee"}, {"3", "dog"}, {"2", "cat"}};
  EXPECT_EQ(labels_of(model), kAnimals);
  model.config["label_names"] = {{"4", "eel"}, {"1", "bee"}, {"2", nullptr}};
  EXPECT_EQ(labels_of(model), (Labels{"class 0", "bee", "class 2", "class 3", "eel"}));
  model.config["pretrained_cfg"]["label_names"] = model.config["label_names"];
  model.config.erase("label_names");
  EXPECT_EQ(labels_of(model)[1], "bee");
}

TEST(Labels, OfAMapAreOfClassesThatTheModelHas) {
  ModelFolder model("timm_average");
  for (const char* key : {"5", "-1", "01", "+1", "1 ", "", "one", "1.0", "99999999999999999999"}) {
    model.config["label_names"] = {{"1", "bee"}, {key, "fly"}};
    refuses(model, {"config.json: label_names: found \"" + std::string(key) + "\"", "0 to 4"});
  }
  model.config["label_names"] = {{"1", "b\ne"}};
  refuses(model, {"config.json: label_names: 1 is ", "control characters"});
}

}  // namespace
}  // namespace tome
