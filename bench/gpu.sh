#!/bin/sh
# Forward passes of gst-tome on an NVIDIA GPU beside timm, eager and compiled: correctness first, then
# interleaved runs. JSON Lines on stdout; JSON Lines and a table in bench/results/, named after the
# device.
#   bench/gpu.sh [--model DIR] [--data DIR]     what the tests before it need:
#       --model   a checkpoint folder whose classes must agree with the CPU's; default: one of --data
#       --data    a folder with parity/ (and models/); default: $TOME_SHARED_DATA, else ../shared/data
#   bench/gpu.sh --quick                        ViT-B and video ViT-L at batch 1 and 128
#   bench/gpu.sh [--models A,B] [--batch 1,8] [--cells MODEL:BATCH,...] [--rounds N] [--repeats N]
#                [--peers eager] [--together N] [--ready-seconds S] [--peak-tflops X] [--out NAME]
# Needs a build with CUDA kernels (./setup.sh makes it; BUILD=DIR for another place) and a Python with
# torch and timm (PYTHON=..., default python3). CUDA_VISIBLE_DEVICES chooses the device.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build}
python=${PYTHON:-python3}
case "${1:-}" in
  -h | --help)
    sed -n '2,14s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
fail() {
  printf 'gpu.sh: %s\n' "$*" >&2
  exit 2
}
[ -x "$build/tools/tome" ] || fail "no build in $build: run ./setup.sh first"
[ -x "$build/tests/unit/cuda/test_cuda_device" ] ||
  fail "the build in $build has no CUDA kernels: run ./setup.sh -Dcuda=enabled"
command -v "$python" >/dev/null || fail "no $python: a Python with torch and timm is needed"
exec "$python" "$root/bench/gpu/run.py" --tome "$build/tools/tome" \
  --device-test "$build/tests/unit/cuda/test_cuda_device" "$@"
