#!/bin/bash
# Tags several cameras or files with one model: one JSON object a line on stdout for each result,
# what happens to the sources on stderr.
#
#   pipelines/cameras.sh [options] [NAME=]SOURCE...
#
#   SOURCE               a file, or an address such as rtsp://user:password@camera/stream
#   NAME                 what `stream` says in the lines; default: the file's name, or host and path
#   --model DIR          model folder in Hugging Face layout; default: models/camera-state
#   --r SPEC             tokens to merge in each block: 0, 13, 16:-1, keep=0.5; default: the model's
#   --top-k N            tags of each result; default: 5
#   --interval N         every n-th frame, or window of a clip model; default: 1
#   --batch-size N       most frames of all sources in one forward; default: sources, 8 at most
#   --late-policy WHAT   of live sources: skip (default) leaves out the inference of frames that
#                        are late, process does all and lets the latency grow
#   --timeout SECONDS    a live source that sends nothing for so long is connected to again;
#                        default: 10
#   --loop               files play at their own speed, again and again, as cameras would
#
# All sources share one model and its batches. A source that fails does not end the others. Live
# sources are connected to again for as long as it takes; without one, it ends when all files have:
# with status 0, or 1 if one of them failed. Ctrl-C ends it at any time, with status 0.
# rtsp:// is received over TCP; rtspu:// asks for UDP.
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
run_python streams.py "$@"
