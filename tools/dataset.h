// A folder of labelled pictures or videos.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace tome::cli {

struct Sample {
  std::filesystem::path file;
  int64_t class_index = 0;
  int64_t line = 0;  ///< of labels.csv; 0: there is none
};

/// A folder in one of two layouts: with labels.csv, whose columns are `file` and `class_index` or
/// `label` (or both) and perhaps `split`; or, without that file, with a folder for each class,
/// [split/]class/file. Names that begin with a dot and files beside class folders do not count;
/// folders are splits where there are folders in the first of them, by name.
class Dataset {
 public:
  /// @throws Error naming file and line or the folder: neither layout, a missing column
  explicit Dataset(const std::filesystem::path& folder);

  bool has_splits() const { return has_splits_; }

  /// The split that is not trained on: the first of val, valid, validation and test that is there.
  std::optional<std::string> held_out_split() const;

  /// What is measured on where nobody says: held_out_split(), or "", all, where there are no
  /// splits.
  /// @throws Error kSettings naming the splits if there are some and none of them is held out:
  ///   all would be the samples trained on, too
  std::string measured_split() const;

  /// Names for a model that is to be trained: the distinct labels, sorted; of a labels.csv that has
  /// numbers only, "class 0", "class 1" and so on to the largest, as a model without names has
  /// them. Empty labels are left out: a split may have none.
  /// @throws Error kFormat if there is no label, or one that is not UTF-8
  std::vector<std::string> label_names() const;

  /// Samples of `split` ("": of all), at most `limit`, evenly spread over the rows (0: all).
  ///
  /// Labels count where each is one of the model's, else numbers do, if there are any: those of
  /// `class_index` or of folders called by numbers. Folders with other names are the model's
  /// classes in sorted order (as torchvision's ImageFolder counts them) if there are as many, and
  /// stderr says so.
  /// @param labels  of the model
  /// @throws Error naming file and line or folder: a label the model does not have or has twice, a
  ///   class out of range, no sample at all
  std::vector<Sample> samples(const std::vector<std::string>& labels, const std::string& split,
                              int64_t limit) const;

 private:
  struct Row {
    std::filesystem::path file;
    std::string label, class_index, split;
    int64_t line = 0;  // 0: of a folder
  };
  class Classes;

  void read_labels_file();
  void read_class_folders();
  void read_class_folders_of(const std::filesystem::path& parent, const std::string& split);
  [[noreturn]] void fail(const Row& row, const std::string& what) const;
  std::set<std::string> splits() const;  // "" is none
  [[noreturn]] void fail_empty(const std::string& split) const;

  std::filesystem::path folder_;
  std::string source_;  // what messages name: labels.csv or the folder
  bool by_folder_ = false, has_splits_ = false, has_indices_ = false;
  std::vector<Row> rows_;
};

}  // namespace tome::cli
