// What a folder of labelled files holds: labels.csv, or folders by class.
#include "dataset.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "error_of.h"
#include "folder_fixture.h"
#include "tome_error.h"

namespace tome::train {
namespace {

using testing::error_of;

class DatasetTest : public FolderTest {
 protected:
  std::vector<std::string> label_names() const { return cli::Dataset(folder_).label_names(); }

  std::vector<cli::Sample> samples(const std::vector<std::string>& labels,
                                   const std::string& split = "", int64_t limit = 0) const {
    return cli::Dataset(folder_).samples(labels, split, limit);
  }

  /// "file class" of each sample, files as named in the folder.
  std::vector<std::string> listed(const std::vector<cli::Sample>& samples) const {
    std::vector<std::string> out;
    for (const cli::Sample& sample : samples) {
      out.push_back(sample.file.lexically_relative(folder_).string() + " " +
                    std::to_string(sample.class_index));
    }
    return out;
  }

  void touch(const std::string& name) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << "x";
  }
};

TEST_F(DatasetTest, LabelNamesAreTheDistinctOnes) {
  write_labels("file,label,split\na.avi,run,train\nb.avi,jump,train\nc.avi,run,val\n");
  EXPECT_EQ(label_names(), (std::vector<std::string>{"jump", "run"}));
}

TEST_F(DatasetTest, LabelNamesAreReadAsSpreadsheetsWriteThem) {
  write_labels("\xEF\xBB\xBFlabel,file\r\n\"up, down\",a.avi\r\n\r\n\"a \"\"b\"\"\",b.avi\r\n\n");
  EXPECT_EQ(label_names(), (std::vector<std::string>{"a \"b\"", "up, down"}));
}

TEST_F(DatasetTest, ALabelThatNoModelCouldHoldIsNamedByItsLine) {
  write_labels(
      "file,label\na.avi,gehen\nb.avi,\xfc"
      "ben\n");
  EXPECT_NE(error_of([&] { label_names(); }).find("labels.csv line 3: found a label"),
            std::string::npos);
  // Rows of a split that has no labels are no class.
  write_labels("file,label,split\na.avi,gehen,train\nb.avi,,test\n");
  EXPECT_EQ(label_names(), std::vector<std::string>{"gehen"});
  const auto read = [&](const char* split) { samples({"gehen"}, split); };
  EXPECT_NO_THROW(read("train"));
  EXPECT_NE(error_of([&] { read("test"); }).find("line 3"), std::string::npos);
}

TEST_F(DatasetTest, ARowIsAsLongAsTheHeaderEvenIfNamesRepeat) {
  write_labels("file,,,,label\na.png,x,y\n");
  const auto read = [&] { samples({"x"}); };
  const std::string text = error_of(read);
  EXPECT_NE(text.find("line 2: found 3 fields, expected 5"), std::string::npos) << text;
  EXPECT_THROW(label_names(), Error);
  write_labels("file,label\na.jpg,maillot, tank suit\n");
  EXPECT_NE(error_of(read).find("line 2: found 3 fields, expected 2"), std::string::npos);
  write_labels("file,label\na.jpg,x,,\n");
  EXPECT_EQ(samples({"x"}).size(), 1U);
  write_labels("file,,,label\na.png,x,y,x\n");
  EXPECT_EQ(samples({"x"}).size(), 1U);
  for (const char* header : {"file,label,file", "file,label,label", "label,split,file,split"}) {
    write_labels(std::string(header) + "\na,a,a,a\n");
    EXPECT_NE(error_of(read).find("twice"), std::string::npos) << header;
  }
}

TEST_F(DatasetTest, LabelsCountWhereTheModelHasThemAll) {
  // Whoever wrote the numbers may have counted otherwise than `train` does, which sorts.
  write_labels("file,class_index,label\nv.avi,0,y\nw.avi,1,x\n");
  EXPECT_EQ(listed(samples({"x", "y"})), (std::vector<std::string>{"v.avi 1", "w.avi 0"}));
  EXPECT_EQ(listed(samples({"x", "other"})), (std::vector<std::string>{"v.avi 0", "w.avi 1"}));
}

TEST_F(DatasetTest, ALabelThatTheModelHasTwiceNeedsItsNumber) {
  const std::vector<std::string> labels{"crane", "dog", "crane"};  // ImageNet has two cranes
  write_labels("file,label\na.png,dog\nb.png,crane\n");
  const std::string text = error_of([&] { samples(labels); });
  EXPECT_NE(text.find("line 3: found label 'crane', which the model has twice"), std::string::npos)
      << text;
  write_labels("file,label,class_index\na.png,dog,1\nb.png,crane,2\n");
  EXPECT_EQ(listed(samples(labels)), (std::vector<std::string>{"a.png 1", "b.png 2"}));
}

TEST_F(DatasetTest, ASplitMayHaveNoClasses) {
  for (const char* column : {"label", "class_index"}) {
    const std::string one = column == std::string("label") ? "x" : "0";
    write_labels("file," + std::string(column) + ",split\na.png," + one + ",train\nb.png,,test\n");
    EXPECT_EQ(cli::Dataset(folder_).held_out_split(), std::nullopt) << column;
    EXPECT_EQ(listed(samples(label_names(), "train")), std::vector<std::string>{"a.png 0"});
    EXPECT_NE(error_of([&] { samples(label_names(), "test"); }).find("line 3"), std::string::npos);
  }
  write_labels("file,label,class_index\na.png,,1\n");
  EXPECT_EQ(label_names(), (std::vector<std::string>{"class 0", "class 1"}));
  EXPECT_EQ(listed(samples(label_names())), std::vector<std::string>{"a.png 1"});
}

TEST_F(DatasetTest, WhatIsHeldOutHasSeveralNames) {
  const auto held_out = [&] { return cli::Dataset(folder_).held_out_split(); };
  write_labels("file,label\na.png,x\n");
  EXPECT_EQ(held_out(), std::nullopt);
  write_labels("file,label,split\na.png,x,train\nb.png,x,extra\n");
  EXPECT_EQ(held_out(), std::nullopt);
  write_labels("file,label,split\na.png,x,train\nb.png,x,test\nc.png,x,validation\n");
  EXPECT_EQ(held_out(), "validation");
}

TEST_F(DatasetTest, WhatIsMeasuredIsNeverTheTrainingByChance) {
  const auto measured = [&] { return cli::Dataset(folder_).measured_split(); };
  write_labels("file,label\na.png,x\n");
  EXPECT_EQ(measured(), "");
  write_labels("file,label,split\na.png,x,\n");
  EXPECT_EQ(measured(), "");
  write_labels("file,label,split\na.png,x,train\nb.png,x,test\n");
  EXPECT_EQ(measured(), "test");
  write_labels("file,label,split\na.png,x,train\nb.png,x,testing\n");
  const std::string text = error_of(measured);
  EXPECT_NE(text.find("labels.csv: found the splits 'testing', 'train'"), std::string::npos)
      << text;
  EXPECT_NE(text.find("--split"), std::string::npos) << text;
}

TEST_F(DatasetTest, NumbersAloneTrainClassesNamedByThem) {
  write_labels("file,class_index\na.png,2\nb.png,0\n");
  const std::vector<std::string> names = label_names();
  EXPECT_EQ(names, (std::vector<std::string>{"class 0", "class 1", "class 2"}));
  EXPECT_EQ(listed(samples(names)), (std::vector<std::string>{"a.png 2", "b.png 0"}));
  for (const char* bad : {"-1", "x", "1x", "65536", "99999999999999999999"}) {
    write_labels(std::string("file,class_index\na.png,0\nb.png,") + bad + "\n");
    EXPECT_NE(error_of([&] { label_names(); }).find("line 3: found class_index"), std::string::npos)
        << bad;
    EXPECT_NE(error_of([&] {
                samples({"x", "y"});
              }).find("line 3: found class_index"),
              std::string::npos)
        << bad;
  }
}

TEST_F(DatasetTest, AFolderForEachClass) {
  for (const char* name : {"run/b.avi", "run/a.avi", "jump/c.avi", "jump/.thumbs", ".cache/d.avi"})
    touch(name);
  touch("notes.txt");
  EXPECT_FALSE(cli::Dataset(folder_).has_splits());
  EXPECT_EQ(label_names(), (std::vector<std::string>{"jump", "run"}));
  const std::vector<std::string> wanted{"jump/c.avi 2", "run/a.avi 1", "run/b.avi 1"};
  EXPECT_EQ(listed(samples({"fall", "run", "jump"})), wanted);
  EXPECT_EQ(listed(samples({"fall", "run", "jump"}, "", 2)),
            (std::vector<std::string>{wanted[0], wanted[1]}));
  EXPECT_NE(error_of([&] {
              samples({"run", "fall"});
            }).find("jump: found label 'jump'"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              samples({"run", "jump"}, "val");
            }).find("split 'val'"),
            std::string::npos);
}

TEST_F(DatasetTest, FoldersOfClassFoldersAreSplits) {
  for (const char* name : {"train/notes.txt", "train/run/a.avi", "train/jump/b.avi",
                           "val/run/c.avi", "val/fall/d.avi"})
    touch(name);
  EXPECT_TRUE(cli::Dataset(folder_).has_splits());
  const std::vector<std::string> names = label_names();
  EXPECT_EQ(names, (std::vector<std::string>{"fall", "jump", "run"}));
  EXPECT_EQ(listed(samples(names, "train")),
            (std::vector<std::string>{"train/jump/b.avi 1", "train/run/a.avi 2"}));
  EXPECT_EQ(listed(samples(names, "val")),
            (std::vector<std::string>{"val/fall/d.avi 0", "val/run/c.avi 2"}));
  EXPECT_EQ(samples(names).size(), 4U);
  const std::string text = error_of([&] { samples(names, "test"); });
  EXPECT_NE(text.find("no sample of split 'test'"), std::string::npos) << text;
  EXPECT_NE(text.find("'train', 'val'"), std::string::npos) << text;
}

TEST_F(DatasetTest, AsManyFoldersAsClassesCountInSortedOrder) {
  for (const char* name : {"n02/a.jpg", "n01/b.jpg", "n10/c.jpg"}) touch(name);
  EXPECT_EQ(listed(samples({"tench", "goldfish", "shark"})),
            (std::vector<std::string>{"n01/b.jpg 0", "n02/a.jpg 1", "n10/c.jpg 2"}));
  // Numbers are not sorted as text, and need not be all.
  fs::remove_all(folder_);
  for (const char* name : {"10/a.jpg", "9/b.jpg"}) touch(name);
  EXPECT_EQ(listed(samples(std::vector<std::string>(11, "?"))),
            (std::vector<std::string>{"10/a.jpg 10", "9/b.jpg 9"}));
  EXPECT_NE(error_of([&] {
              samples({"tench", "goldfish"});
            }).find("found class_index '10'"),
            std::string::npos);
  fs::remove_all(folder_);
  for (const char* name : {"n02/a.jpg", "n01/b.jpg", "n10/c.jpg"}) touch(name);
  // As many, but one of them is meant by name: then all are.
  EXPECT_THROW(samples({"n02", "goldfish", "shark"}), Error);
  EXPECT_THROW(samples({"tench", "goldfish"}), Error);
}

TEST_F(DatasetTest, NeitherTableNorFoldersIsAnError) {
  const auto text = [&] { return error_of([&] { samples({"x"}); }); };
  EXPECT_NE(text().find("labels.csv"), std::string::npos);
  touch("a.png");
  EXPECT_NE(text().find("labels.csv"), std::string::npos);
  touch("x/a.png");
  EXPECT_EQ(samples({"x"}).size(), 1U);
  touch("x/deeper/b.png");
  touch("y/c.png");
  EXPECT_THROW(samples({"x", "y"}), Error) << "a file of no class would be lost in silence";
  fs::remove_all(folder_);
  EXPECT_NE(text().find("labels.csv"), std::string::npos);
}

}  // namespace
}  // namespace tome::train
