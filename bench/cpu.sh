#!/bin/bash
# Forward passes of gst-tome beside PyTorch, timm, OpenVINO and ONNX Runtime, interleaved: JSON Lines
# on stdout; JSON Lines, a table and a plot in build/bench-results/, or where --out says:
# bench/results/NAME is for rows to keep.
#   bench/cpu.sh --quick     ViT-Ti, ViT-B and video ViT-B at batch 1, in minutes
#   bench/cpu.sh [--models A,B] [--batch 1,8] [--threads 1,2] [--precision fp32,bf16]
#                [--engines A,B] [--rounds N] [--repeats N] [--out NAME] [--append]
#   bench/cpu.sh --end-to-end    a 1080p H.264 file through gst-launch, beside OpenCV + timm and
#                                OpenCV + OpenVINO; with --help, its options
# The first run installs the peers from PyPI into build/peers, or into PEERS=DIR; a Python environment that
# is there already is taken as it is. BUILD=DIR takes another build than build/, as it is.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
program=measure.py
if [ "${1-}" = --end-to-end ]; then
  program=end_to_end.py
  shift
fi
for argument in "$@"; do
  case $argument in
    -h | --help) # which needs neither a build nor peers
      sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
      echo
      exec python3 "$root/bench/cpu/$program" --help
      ;;
  esac
done
. "$root/build_jobs.sh"
build=${BUILD:-$root/build}
peers=${PEERS:-$root/build/peers}
if [ -z "${BUILD:-}" ]; then
  [ -f "$build/build.ninja" ] || "$root/setup.sh" >&2
  build_targets "$build" tools/tome
fi
has_pip() { "$peers/bin/python" -m pip --version >/dev/null 2>&1; }
# The stamp comes last: without it, a run was interrupted, or PEERS is somebody's own, which is not
# "installing".
wanted=$root/bench/cpu/requirements.txt
if [ -e "$peers/installing" ] || { [ -e "$peers/installed" ] && [ "$wanted" -nt "$peers/installed" ]; } ||
  { [ ! -e "$peers/installed" ] && { [ -z "${PEERS:-}" ] || [ ! -x "$peers/bin/python" ]; }; }; then
  has_pip || [ -n "${PEERS:-}" ] || rm -rf "$peers"
  mkdir -p "$peers"
  touch "$peers/installing"
  has_pip || python3 -m venv "$peers"
  # What is there already stays.
  "$peers/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r "$wanted" >&2 || exit 2
  touch "$peers/installed"
  rm "$peers/installing"
fi
if [ $program = end_to_end.py ]; then
  [ -n "${BUILD:-}" ] || build_targets "$build" bench/streams gst-plugin/libgsttomeclassify.so
  exec "$peers/bin/python" "$root/bench/cpu/end_to_end.py" --build "$build" "$@"
fi
exec "$peers/bin/python" "$root/bench/cpu/measure.py" --tome "$build/tools/tome" "$@"
