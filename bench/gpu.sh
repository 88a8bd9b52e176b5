#!/bin/bash
# Forward passes of gst-tome on an NVIDIA GPU beside timm, eager and compiled: correctness first, then
# interleaved runs. JSON Lines on stdout; JSON Lines and a table in build/bench-results/, named after the
# device, or where --out says: bench/results/NAME is for rows to keep.
#   bench/gpu.sh [--model DIR] [--data DIR]     what the tests before it need:
#       --data    a folder with parity/matching.{json,safetensors}, recorded from the reference; default:
#                 $TOME_SHARED_DATA, else ../shared/data (docs/gpu.md says more)
#       --model   a checkpoint folder whose classes must agree with the CPU's; default:
#                 models/vit_tiny_patch16_224 of --data, else models/camera-state
#   bench/gpu.sh --quick                        ViT-B and video ViT-L at batch 1 and 128
#   bench/gpu.sh [--models A,B] [--batch 1,8] [--cells MODEL:BATCH,...] [--rounds N] [--repeats N]
#                [--peers eager] [--together N] [--ready-seconds S] [--peak-tflops X]
#                [--out NAME] [--append] [--version TEXT]
# Builds the program and the device tests, for which nvcc must be there or come with ./setup.sh; BUILD=DIR
# takes another build than build/, as it is. Needs a Python with timm and a torch built for CUDA
# (PYTHON=..., default python3). CUDA_VISIBLE_DEVICES chooses the device.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
for argument in "$@"; do
  case $argument in
    -h | --help) # which needs neither a build nor torch
      sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
      echo
      exec python3 "$root/bench/gpu/run.py" --help
      ;;
  esac
done
. "$root/build_jobs.sh"
build=${BUILD:-$root/build}
device_test=tests/unit/test_cuda_device
fail() {
  printf 'gpu.sh: %s\n' "$*" >&2
  exit 2
}
# Of a build without CUDA kernels, the device tests are no target.
needs_kernels() {
  grep -qs "^build $device_test:" "$build/build.ninja" ||
    fail "the build in $build has no CUDA kernels: run ./setup.sh -Dcuda=enabled"
}
command -v "$python" >/dev/null || fail "no $python: a Python with torch and timm is needed"
measure=("$python" "$root/bench/gpu/run.py" --tome "$build/tools/tome" --device-test "$build/$device_test"
  --device-log "$build/bench-results/device-tests.log")
if [ -z "${BUILD:-}" ]; then
  "${measure[@]}" --check-only "$@" # a build takes minutes, which a wrong option should not cost
  [ -f "$build/build.ninja" ] || "$root/setup.sh" >&2
  command -v ninja >/dev/null || fail "no ninja to build with: BUILD=$build takes a finished build as it is"
  build_targets "$build" tools/tome # and build.ninja before it, where that is out of date
  needs_kernels
  build_targets "$build" "$device_test"
fi
[ -x "$build/tools/tome" ] || fail "no build in $build: run ./setup.sh first"
if ! [ -x "$build/$device_test" ]; then
  needs_kernels
  fail "the device tests in $build are not built: ninja -C $build $device_test"
fi
exec "${measure[@]}" "$@"
