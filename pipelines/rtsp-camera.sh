#!/bin/bash
# Tags one live camera: one JSON object a line on stdout for each result, what happens to the
# connection on stderr. When the camera is lost it is connected to again, for as long as it takes.
#
#   pipelines/rtsp-camera.sh [options] [NAME=]rtsp://user:password@camera/stream
#
#   NAME                 what `stream` says in the lines; default: host and path
#   --model DIR          model folder in Hugging Face layout; default: models/camera-state
#   --r SPEC             tokens to merge in each block: 0, 13, 16:-1, keep=0.5; default: the model's
#   --labels-file FILE   one label a line, in class order; default: the model's
#   --device WHERE       auto, cpu, cuda, cuda:N; default: auto, CUDA where it is usable
#   --precision WHAT     auto, fp32, bf16, fp16, int8; default: auto, the fastest that keeps the accuracy
#   --top-k N            tags of each result; default: 5
#   --threshold SCORE    leaves out tags with a lower score; default: 0
#   --interval N         every n-th frame, or window of a clip model; default: 1
#   --batch-size N       most frames in one forward; default: 1
#   --late-policy WHAT   skip (default) leaves out the inference of frames that are late, process
#                        does all and lets the latency grow
#   --timeout SECONDS    a camera that sends nothing for so long is lost; default: 10
#   --loop               a recording that http sends plays again and again
#
# rtmp, srt, udp, http (MJPEG, HLS) and a camera of this machine (/dev/video0) do as well; cameras.sh
# --help has all. rtsp:// is received over TCP; rtspu:// asks for UDP.
#
# Ctrl-C ends it, as does the end of a recording, with status 0, and SIGPIPE when nobody reads stdout any
# more. A camera that never sent anything but what this machine cannot decode is status 1, any other error
# 2; both are one line on stderr.
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
run_python streams "$@"
