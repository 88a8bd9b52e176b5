#!/bin/bash
# Many streams through one model: frames per second, latency and fairness as one JSON object.
#   bench/streams.sh [--streams 16] [--seconds 30] [--load 1.0] [--batch-size 8] [--r 13]
#     [--model DIR] [--source NV12:1920x1080,...] [--core-only]      all options: --help, once it is built
# --load 1 (the default): raw frames as fast as they are taken. Any other load: live streams that
# together bring this multiple of what the core was just measured to infer.
# Builds what it runs; BUILD=DIR takes another build than build/, as it is.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD:-$root/build}
for argument in "$@"; do
  case $argument in
    -h | --help) # which needs no build
      sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
      [ ! -x "$build/bench/streams" ] || exec "$build/bench/streams" --help
      exit 0
      ;;
  esac
done
. "$root/build_jobs.sh"
if [ -z "${BUILD:-}" ]; then
  [ -f "$build/build.ninja" ] || "$root/setup.sh" >&2
  build_targets "$build" bench/streams gst-plugin/libgsttomeclassify.so
elif [ ! -x "$build/bench/streams" ]; then
  echo "streams.sh: there is no bench/streams in $build" >&2
  exit 2
fi
export GST_PLUGIN_PATH="$build/gst-plugin${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
exec "$build/bench/streams" "$@"
