#!/bin/sh
# Forward passes of gst-tome beside PyTorch, timm, OpenVINO and ONNX Runtime, interleaved: JSON Lines
# on stdout; JSON Lines, a table and a plot in bench/results/.
#   bench/cpu.sh --quick     ViT-Ti, ViT-B and video ViT-B at batch 1, in minutes
#   bench/cpu.sh [--models A,B] [--batch 1,8] [--threads 1,2] [--precision fp32,bf16]
#                [--engines A,B] [--rounds N] [--repeats N] [--out NAME] [--append]
#   bench/cpu.sh --end-to-end    a 1080p H.264 file through gst-launch, beside OpenCV + timm and
#                                OpenCV + OpenVINO; --help has its options
# The first run installs the peers from PyPI into build/peers.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build}
peers=${PEERS:-$root/build/peers}
if [ -z "${BUILD:-}" ]; then
  [ -f "$build/build.ninja" ] || "$root/setup.sh" >&2
  ninja -C "$build" tools/tome >&2
fi
if [ ! -x "$peers/bin/python" ]; then
  python3 -m venv "$peers"
  "$peers/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r "$root/bench/cpu/requirements.txt" >&2 || { rm -rf "$peers"; exit 2; }
fi
if [ "${1-}" = --end-to-end ]; then
  shift
  [ -n "${BUILD:-}" ] ||
    ninja -C "$build" bench/streams gst-plugin/libgsttomeclassify.so >&2
  exec "$peers/bin/python" "$root/bench/cpu/end_to_end.py" --build "$build" "$@"
fi
exec "$peers/bin/python" "$root/bench/cpu/measure.py" --tome "$build/tools/tome" "$@"
