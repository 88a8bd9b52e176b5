#!/bin/bash
# Many streams through one model: frames per second, latency and fairness as one JSON object.
#   bench/streams.sh [--streams 16] [--seconds 30] [--load 1.0] [--batch-size 8] [--r 13]
#     [--model DIR] [--source NV12:1920x1080,...] [--core-only]      all options: --help
# --load 1 (the default): raw frames as fast as they are taken. Any other load: live streams that
# together bring this multiple of what the core was just measured to infer.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/build_jobs.sh"
[ -f "$root/build/build.ninja" ] || "$root/setup.sh" >&2
build_targets "$root/build" bench/streams gst-plugin/libgsttomeclassify.so
export GST_PLUGIN_PATH="$root/build/gst-plugin${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
exec "$root/build/bench/streams" "$@"
