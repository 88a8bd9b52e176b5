#include "vit/cgroup_limits.h"

#include <algorithm>
#include <cctype>
#include <climits>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace tome {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

/// Nothing for what is no number, as "max" is, or "-1".
std::optional<uint64_t> read_number(std::istream&& in) {
  uint64_t number = 0;
  if (!std::isdigit((in >> std::ws).peek()) || !(in >> number)) return std::nullopt;
  return number;
}

std::optional<uint64_t> number_in(const fs::path& file) { return read_number(std::ifstream(file)); }

/// Of a file of lines "name number".
uint64_t number_named(const std::string& name, const fs::path& file) {
  std::ifstream in(file);
  std::string found;
  uint64_t number = 0;
  while (in >> found >> number) {
    if (found == name) return number;
    in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

/// `visit` gets the folder of the process's group, then that of each above it. Some may not be
/// there: a container sees its own group as the topmost, and its path may be as others see it.
void for_each_group(const fs::path& root, const std::string& controller,
                    const std::function<void(const fs::path&, bool is_version_2)>& visit) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // number:controllers:path
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool is_version_2 = controllers == ",,";
    if (!is_version_2 && controllers.find("," + controller + ",") == std::string::npos) continue;
    fs::path folder = root / "sys/fs/cgroup";
    if (!is_version_2) folder /= controller;
    fs::path group = fs::path(line.substr(second + 1)).lexically_normal().relative_path();
    for (; !group.empty(); group = group.parent_path()) visit(folder / group, is_version_2);
    visit(folder, is_version_2);
  }
}

uint64_t left_in(const fs::path& group, bool is_version_2) {
  const auto limit = number_in(group / (is_version_2 ? "memory.max" : "memory.limit_in_bytes"));
  const auto used = number_in(group / (is_version_2 ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !used) return kNoLimit;
  const uint64_t idle =
      number_named(is_version_2 ? "inactive_file" : "total_inactive_file", group / "memory.stat");
  const uint64_t taken = *used - std::min(*used, idle);
  return *limit - std::min(*limit, taken);
}

}  // namespace

int quota_cores(const fs::path& root) {
  uint64_t cores = INT_MAX;
  for_each_group(root, "cpu", [&](const fs::path& group, bool is_version_2) {
    std::optional<uint64_t> quota, period;
    if (is_version_2) {
      std::ifstream both(group / "cpu.max");
      std::string first, second;
      both >> first >> second;
      quota = read_number(std::istringstream(first));
      period = read_number(std::istringstream(second));
    } else {
      quota = number_in(group / "cpu.cfs_quota_us");
      period = number_in(group / "cpu.cfs_period_us");
    }
    if (!quota || !period || *period == 0) return;
    const uint64_t whole = *quota / *period + (*quota % *period == 0 ? 0 : 1);
    cores = std::min(cores, std::max<uint64_t>(1, whole));
  });
  return static_cast<int>(cores);
}

uint64_t available_memory(const fs::path& root) {
  uint64_t left = number_named("MemAvailable:", root / "proc/meminfo") * 1024;
  for_each_group(root, "memory", [&](const fs::path& group, bool is_version_2) {
    left = std::min(left, left_in(group, is_version_2));
  });
  return left;
}

}  // namespace tome
