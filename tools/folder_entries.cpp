#include "folder_entries.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include "tome_error.h"

namespace tome::cli {

namespace fs = std::filesystem;

std::vector<fs::path> visible_entries(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (!it->path().filename().string().starts_with('.')) out.push_back(it->path());
  }
  if (error) throw Error(ErrorKind::kRead, folder.string() + ": " + error.message());
  std::sort(out.begin(), out.end());
  return out;
}

bool is_inner_folder(const fs::path& entry) {
  std::error_code broken;  // a link to nothing is no folder
  return fs::is_directory(entry, broken) && !fs::is_symlink(entry, broken);
}

std::string lower_ending(const fs::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending;
}

}  // namespace tome::cli
