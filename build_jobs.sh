# Sourced by the scripts that build: as few compilers at a time as memory allows, and a word where a
# build fails.

# A compiler that includes LibTorch takes 1.5 GB: more at a time than memory holds would only swap.
count_jobs() {
  local memory_gb jobs
  memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  jobs=$(nproc)
  [ "$jobs" -le $((memory_gb / 2 + 1)) ] || jobs=$((memory_gb / 2 + 1))
  echo "$jobs"
}

# Builds targets in a build folder, all on stderr. Ends the script where that fails.
build_targets() { # build folder, targets
  ninja -C "$1" -j "$(count_jobs)" "${@:2}" >&2 || {
    printf '%s: the build in %s failed, see above\n' "$(basename "$0")" "$1" >&2
    exit 2
  }
}
