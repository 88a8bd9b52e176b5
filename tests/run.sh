#!/bin/bash
# Builds and runs every test. The last line says how many passed, failed and were skipped.
#
#   tests/run.sh [--gpu] [arguments of meson test]     e.g. tests/run.sh --suite unit
#
#   --gpu   also the tests that need a CUDA device (suite gpu)
set -euo pipefail

cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
arguments=()
gpu=
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,6s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --gpu) gpu=1 ;;
    *) arguments+=("$argument") ;;
  esac
done
[ -n "$gpu" ] || arguments=(--no-suite gpu "${arguments[@]}")

[ -e build/build.ninja ] || ./setup.sh
# As few compilers at a time as memory allows, see setup.sh.
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
[ "$jobs" -le $((memory_gb / 2 + 1)) ] || jobs=$((memory_gb / 2 + 1))
ninja -C build -j "$jobs"

# Results of an earlier run must not be counted again.
rm -f build/meson-logs/testlog* build/*.xml
status=0
meson test -C build --no-rebuild --print-errorlogs "${arguments[@]}" || status=$?
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" tests/count_results.py build/meson-logs "$status"
