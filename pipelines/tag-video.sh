#!/bin/bash
# Tags a video: one JSON object a line on stdout for each result, progress on stderr.
#
#   pipelines/tag-video.sh [--model DIR] [--r SPEC] [--top-k N] [FILE]
#
#   --model DIR   model folder in Hugging Face layout; default: models/camera-state, which ships
#   --r SPEC      tokens to merge in each block: 0, 13, 16:-1, 16,8,4, keep=0.5; default: the model's
#   --top-k N     tags of each result; default: 5
#   FILE          any video that GStreamer decodes; default: a clip made on the spot, in which a
#                 virtual camera pans, tilts, zooms, rolls, shakes, is covered, defocused, frozen
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
die() {
  printf 'tag-video.sh: %s\n' "$*" >&2
  exit 2
}

model=
r=
top_k=5
file=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      show_help
      exit 0
      ;;
    --model | --r | --top-k)
      [ $# -ge 2 ] || die "$1: expected a value after it"
      case $1 in
        --model) model=$2 ;;
        --r) r=$2 ;;
        --top-k) top_k=$2 ;;
      esac
      shift
      ;;
    -*) die "found the option '$1', expected --model, --r or --top-k" ;;
    *)
      [ -z "$file" ] || die "found a second file, '$1', expected one"
      file=$1
      ;;
  esac
  shift
done
[[ $top_k =~ ^[1-9][0-9]{0,5}$ ]] || die "--top-k: found '$top_k', expected 1 or more"
[ -z "$model" ] || [ -d "$model" ] || die "--model: there is no folder '$model'"
[ -z "$file" ] || [ -f "$file" ] || die "there is no file '$file'"
[ -n "$model" ] || [ -d "$root/models/camera-state" ] ||
  die "models/camera-state is not there; name a model with --model DIR"

find_elements
scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
if [ -z "$file" ]; then
  scratch=$(mktemp -d)
  file=$scratch/camera.mp4
  "$build/tools/tome" demo-clip "$file" >&2
fi

# A value in gst-launch's syntax, whatever characters it has.
quote() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

classify=(tomeclassify "top-k=$top_k")
[ -z "$model" ] || classify+=("model=$(quote "$(readlink -f "$model")")")
[ -z "$r" ] || classify+=("tome-r=$(quote "$r")")

gst-launch-1.0 -q filesrc "location=$(quote "$(readlink -f "$file")")" ! decodebin ! videoconvert ! \
  "${classify[@]}" ! tomepublish progress=true "stream=$(quote "$(basename "$file")")" ! fakesink
