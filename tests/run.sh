#!/bin/bash
# Builds and runs every test. The last line says how many passed, failed and were skipped.
#
#   tests/run.sh [--gpu] [arguments of meson test]     e.g. tests/run.sh --suite unit
#
#   --gpu   also the tests that need a CUDA device (suite gpu), which only a build with CUDA kernels has
#
# Tests on real weights and clips take them from TOME_SHARED_DATA=DIR, which the build folder keeps (as
# its option test_data); at first from ../shared/data. Without them they are skipped.
set -euo pipefail

[ -z "${TOME_SHARED_DATA:-}" ] || TOME_SHARED_DATA=$(readlink -m "$TOME_SHARED_DATA")
cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
. ./build_jobs.sh
arguments=()
gpu=
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' tests/run.sh
      exit 0
      ;;
    --gpu) gpu=1 ;;
    *) arguments+=("$argument") ;;
  esac
done
[ -n "$gpu" ] || arguments=(--no-suite gpu "${arguments[@]}")

[ -e build/build.ninja ] || ./setup.sh
build_targets build all
if [ -n "${TOME_SHARED_DATA:-}" ] &&
  ! grep -qxF "test_data = $TOME_SHARED_DATA" build/meson-private/cmd_line.txt; then
  meson configure build "-Dtest_data=$TOME_SHARED_DATA"
  build_targets build build.ninja
fi

if [ -n "$gpu" ] && ! meson test -C build --no-rebuild --list --suite gpu >/dev/null 2>&1; then
  echo "run.sh: --gpu: this build has no CUDA kernels: run ./setup.sh -Dcuda=enabled" >&2
  exit 2
fi

# Results of an earlier run must not be counted again.
rm -f build/meson-logs/testlog* build/*.xml
status=0
meson test -C build --no-rebuild --print-errorlogs "${arguments[@]}" || status=$?
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" tests/count_results.py build/meson-logs "$status"
