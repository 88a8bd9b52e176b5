#include "folder_entries.h"

#include <algorithm>
#include <string>
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

std::vector<fs::path> visible_files(const fs::path& path) {
  std::error_code broken;  // a link to nothing is a file that cannot be read
  if (!fs::is_directory(path, broken)) return {path};
  std::vector<fs::path> out;
  for (const fs::path& entry : visible_entries(path)) {
    if (fs::is_symlink(entry, broken) && fs::is_directory(entry, broken)) continue;
    const std::vector<fs::path> inner = visible_files(entry);
    out.insert(out.end(), inner.begin(), inner.end());
  }
  return out;
}

}  // namespace tome::cli
