#!/bin/sh
# Many streams through one model: frames per second, latency and fairness as one JSON object.
#   bench/streams.sh [--streams 16] [--seconds 30] [--load 1.0] [--batch-size 8] [--r 13]
#     [--model DIR] [--source NV12:1920x1080,...] [--core-only]      all options: --help
# --load 1 (the default): raw frames as fast as they are taken. Any other load: live streams that
# together bring this multiple of what the core was just measured to infer.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$root/build/build.ninja" ] || "$root/setup.sh" >&2
ninja -C "$root/build" bench/streams gst-plugin/libgsttomeclassify.so >&2
export GST_PLUGIN_PATH="$root/build/gst-plugin${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
exec "$root/build/bench/streams" "$@"
