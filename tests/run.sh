#!/bin/bash
# Builds and runs every test. The last line says how many passed, failed and were skipped.
#
#   tests/run.sh [--gpu] [arguments of meson test]     e.g. tests/run.sh --suite unit
#   tests/run.sh --gpu --sanitize
#
#   --gpu        also the tests that need a CUDA device (suite gpu), which only a build with CUDA kernels has
#   --sanitize   in place of all others, short ones of these under each of compute-sanitizer's memcheck,
#                synccheck and racecheck
#
# Tests on real weights and clips take them from TOME_SHARED_DATA=DIR, which the build folder keeps (as
# its option test_data); at first from ../shared/data. Without them they are skipped.
set -euo pipefail

[ -z "${TOME_SHARED_DATA:-}" ] || TOME_SHARED_DATA=$(readlink -m "$TOME_SHARED_DATA")
cd "$(dirname "$(dirname "$(readlink -f "$0")")")"
. ./build_jobs.sh
arguments=()
gpu=
sanitize=
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' tests/run.sh
      exit 0
      ;;
    --gpu) gpu=1 ;;
    --sanitize) sanitize=1 ;;
    *) arguments+=("$argument") ;;
  esac
done
if [ -n "$sanitize" ] && { [ -z "$gpu" ] || [ ${#arguments[@]} -ne 0 ]; }; then
  echo "run.sh: --sanitize goes with --gpu and nothing else" >&2
  exit 2
fi
[ -n "$gpu" ] || arguments=(--no-suite gpu "${arguments[@]}")
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if [ -n "$sanitize" ]; then
  sanitizer=$(PATH=$PATH:/usr/local/cuda/bin && command -v compute-sanitizer) || {
    echo "run.sh: --sanitize: no compute-sanitizer in PATH or /usr/local/cuda/bin: the CUDA toolkit has it" >&2
    exit 2
  }
fi

[ -e build/build.ninja ] || ./setup.sh
build_targets build "$([ -n "$sanitize" ] && echo build.ninja || echo all)"
if [ -n "${TOME_SHARED_DATA:-}" ] &&
  ! grep -qxF "test_data = $TOME_SHARED_DATA" build/meson-private/cmd_line.txt; then
  meson configure build "-Dtest_data=$TOME_SHARED_DATA"
  build_targets build build.ninja
fi

if [ -n "$gpu" ] && ! meson test -C build --no-rebuild --list --suite gpu >/dev/null 2>&1; then
  echo "run.sh: --gpu: this build has no CUDA kernels: run ./setup.sh -Dcuda=enabled" >&2
  exit 2
fi
if [ -n "$sanitize" ]; then
  build_targets build tests/unit/test_cuda_device
  exec "$python" tests/sanitize.py build "$sanitizer"
fi

# Results of an earlier run must not be counted again.
rm -f build/meson-logs/testlog* build/*.xml
status=0
meson test -C build --no-rebuild --print-errorlogs "${arguments[@]}" || status=$?
"$python" tests/count_results.py build/meson-logs "$status"
