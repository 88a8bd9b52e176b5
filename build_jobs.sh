# Sourced by the scripts that build: as few compilers at a time as memory allows, and a word where a
# build fails.

# A compiler that includes LibTorch takes 1.5 GB: more at a time than memory holds would only swap, or
# be killed in a container. See Note [Control groups] in core/vit/cgroup_limits.h.
count_jobs() { # a folder to take for /, if any
  awk -v root="${1:-}" -v jobs="$(nproc)" '
    # The number in a field of the first line, or of the first that begins with a word; "" if there is none.
    function number(file, field, word,   line, parts, found) {
      while (found == 0 && (getline line <file) > 0) {
        split(line, parts)
        found = word == "" || parts[1] == word
      }
      close(file)
      return found && parts[field] ~ /^[0-9]+$/ ? parts[field] + 0 : ""
    }
    function bound_cores(quota, period) {
      if (quota == "" || period == "" || period == 0) return
      quota = int((quota + period - 1) / period)
      if (jobs > quota) jobs = quota < 1 ? 1 : quota
    }
    function bound_memory(limit, used, idle) {
      if (limit == "" || used == "") return
      used -= idle
      if (bytes > limit - used) bytes = limit - used
    }
    function bound(group) { # files of version 2, then of version 1; a folder has those of its controllers
      bound_cores(number(group "/cpu.max", 1), number(group "/cpu.max", 2))
      bound_cores(number(group "/cpu.cfs_quota_us", 1), number(group "/cpu.cfs_period_us", 1))
      bound_memory(number(group "/memory.max", 1), number(group "/memory.current", 1),
        number(group "/memory.stat", 2, "inactive_file"))
      bound_memory(number(group "/memory.limit_in_bytes", 1), number(group "/memory.usage_in_bytes", 1),
        number(group "/memory.stat", 2, "total_inactive_file"))
    }
    BEGIN {
      bytes = 1024 * number(root "/proc/meminfo", 2, "MemAvailable:")
      groups = root "/proc/self/cgroup"
      while ((getline line <groups) > 0) { # number:controllers:path
        folder = root "/sys/fs/cgroup"
        if (line ~ /^[0-9]+:(.*,)?cpu[,:]/) folder = folder "/cpu"
        if (line ~ /^[0-9]+:(.*,)?memory[,:]/) folder = folder "/memory"
        path = line
        sub(/^[^:]*:[^:]*:/, "", path)
        for (; path ~ /^\//; sub(/\/[^\/]*$/, "", path)) bound(folder path)
        bound(folder)
      }
      most = int((bytes > 0 ? bytes : 0) / 2147483648) + 1
      print jobs < most ? jobs : most
    }'
}

# Builds targets in a build folder, all on stderr. Ends the script where that fails.
build_targets() { # build folder, targets
  ninja -C "$1" -j "$(count_jobs)" "${@:2}" >&2 || {
    printf '%s: the build in %s failed, see above\n' "$(basename "$0")" "$1" >&2
    exit 2
  }
}
