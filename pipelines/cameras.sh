#!/bin/bash
# Tags several cameras or files with one model: one JSON object a line on stdout for each result,
# what happens to the sources on stderr.
#
#   pipelines/cameras.sh [options] [NAME=]SOURCE...
#
#   SOURCE               a file, an address such as rtsp://user:password@camera/stream, or a camera of
#                        this machine such as /dev/video0
#   NAME                 what `stream` says in the lines; default: the file's name, or host and path
#   --model DIR          model folder in Hugging Face layout; default: models/camera-state
#   --r SPEC             tokens to merge in each block: 0, 13, 16:-1, keep=0.5; default: the model's
#   --labels-file FILE   one label a line, in class order; default: the model's
#   --device WHERE       auto, cpu, cuda, cuda:N; default: auto, CUDA where it is usable
#   --precision WHAT     auto, fp32, bf16, fp16, int8; default: auto, the fastest that keeps the accuracy
#   --top-k N            tags of each result; default: 5
#   --threshold SCORE    leaves out tags with a lower score; default: 0
#   --interval N         every n-th frame, or window of a clip model; default: 1
#   --batch-size N       most frames of all sources in one forward; default: sources, 8 at most
#   --late-policy WHAT   of live sources: skip (default) leaves out the inference of frames that
#                        are late, process does all and lets the latency grow
#   --timeout SECONDS    a live source that sends nothing for so long is connected to again;
#                        default: 10
#   --loop               files play at their own speed, again and again, as cameras would
#
# All sources share one model and its batches. What cannot work, such as a file that is not there or a
# protocol that this machine lacks, is said before anything starts: one line, and status 2. From then
# on a source that fails does not end the others; what fails in tagging or writing itself, such as a
# full disk, ends all, with status 2. Live sources are connected to for as long as it takes, also those
# that are away at the start, unless they send what this machine cannot decode and never sent anything
# else. Without one, it ends when all files have: with status 0, or 1 if one of them failed. A file
# without a result, such as a video that is too short for a clip model, is no failure, but is said on
# stderr. Ctrl-C ends it at any time, with status 0, and SIGPIPE when nobody reads stdout any more.
#
# Live are rtsp (also rtspt, rtspu, rtsps, rtspst), rtmp, rtmps, srt, udp, v4l2 and /dev/video0, and
# http and https (MJPEG, HLS) unless the address ends like a file's, as /clip.mp4 does, or what it
# sends has a length when its first frames come.
# rtsp:// is received over TCP; rtspu:// asks for UDP.
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
run_python streams "$@"
