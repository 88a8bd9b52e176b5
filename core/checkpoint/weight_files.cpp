#include "checkpoint/weight_files.h"

#include "checkpoint/config_object.h"
#include "checkpoint/json_text.h"
#include "excerpt.h"
#include "tome_error.h"

namespace tome {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileName = 255;  // of Linux

// Of a file in the index's own folder: an index may have come from anywhere.
bool is_plain_name(const std::string& name) {
  return name.size() <= kMaxFileName && name.ends_with(".safetensors") && is_one_line(name) &&
         name.find('/') == std::string::npos;
}

[[noreturn]] void refuse_missing(const fs::path& folder, const fs::path& file) {
  std::error_code ignored;
  for (const char* pickle : {"pytorch_model.bin", "model.bin", "model.pth", "model.pt"}) {
    if (fs::exists(folder / pickle, ignored)) {
      throw Error(ErrorKind::kNotFound,
                  file.string() + ": no such file; " + pickle +
                      " is a pickle, which is code: convert it with tools/convert_checkpoint.py");
    }
  }
  throw Error(ErrorKind::kNotFound, file.string() + ": no such file");
}

}  // namespace

WeightFiles WeightFiles::open(const fs::path& folder) {
  const fs::path whole = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (fs::exists(whole, ignored)) {
    WeightFiles out(whole);
    out.add(whole);
    return out;
  }
  if (!fs::exists(index, ignored)) refuse_missing(folder, whole);
  WeightFiles out(index);
  out.add_listed(folder);
  return out;
}

void WeightFiles::add(const fs::path& file) {
  files_.push_back(SafetensorsFile::open(file));
  for (const auto& name : files_.back().names()) {
    const auto [place, is_new] = places_.emplace(name, files_.size() - 1);
    if (is_new) continue;
    throw Error(ErrorKind::kFormat, file.string() + ": tensor " + excerpt(name) + " is in " +
                                        files_[place->second].path().filename().string() +
                                        ", too, expected it once");
  }
}

// {"weight_map": {"head.weight": "model-00002-of-00002.safetensors", …}}
void WeightFiles::add_listed(const fs::path& folder) {
  const auto json = read_json_file(path_);
  const ConfigObject index(json, path_.string());
  const auto map = index.object("weight_map");
  if (!map) index.wrong("weight_map", "the file of each tensor");
  std::map<std::string, size_t> opened;
  for (const auto& [tensor, value] : map->json().items()) {
    if (!value.is_string() || !is_plain_name(value.get_ref<const std::string&>())) {
      map->wrong(tensor, value, "the name of a .safetensors file in the same folder");
    }
    const auto& file = value.get_ref<const std::string&>();
    if (opened.emplace(file, files_.size()).second) add(folder / file);
  }
  for (const auto& [tensor, value] : map->json().items()) {
    const auto place = places_.find(tensor);
    const auto& file = value.get_ref<const std::string&>();
    if (place != places_.end() && place->second == opened.at(file)) continue;
    throw Error(ErrorKind::kFormat, path_.string() + ": tensor " + excerpt(tensor) + " is not in " +
                                        file + ", where weight_map has it");
  }
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

const SafetensorsFile& WeightFiles::file_of(std::string_view name) const {
  return files_[places_.find(name)->second];
}

}  // namespace tome
