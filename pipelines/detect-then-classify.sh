#!/bin/bash
# Finds regions in a video and classifies each of them: one JSON object a line on stdout for each
# region, with its rectangle in `region`.
#
#   pipelines/detect-then-classify.sh --model DIR [options] [[NAME=]SOURCE]
#
#   SOURCE               a file, or an address such as rtsp://camera/stream; default: a moving ball
#   NAME                 what `stream` says in the lines; default: the file's name, or host and path
#   --model DIR          folder of an image model, such as google/vit-base-patch16-224: a region has
#                        no history, so a clip model such as camera-state cannot judge it
#   --detector ELEMENTS  whatever finds the regions, in gst-launch's syntax: anything that attaches
#                        GstVideoRegionOfInterestMeta, e.g. 'gvadetect model=face.xml ! gvatrack';
#                        default: motion_detector.py, which takes what moves
#   --object-class A,B   only regions of these types
#   --reclassify N       a region that the detector tracks is classified every N-th frame only; 0:
#                        once; default: 1
#   --r SPEC             tokens to merge in each block: 0, 13, 16:-1, keep=0.5; default: the model's
#   --labels-file FILE   one label a line, in class order; default: the model's
#   --device WHERE       auto, cpu, cuda, cuda:N; default: auto, CUDA where it is usable
#   --precision WHAT     auto, fp32, bf16, fp16, int8; default: auto, the fastest that keeps the accuracy
#   --top-k N            tags of each result; default: 5
#   --threshold SCORE    leaves out tags with a lower score; default: 0
#   --batch-size N       most regions in one forward; default: 8
#
# Of a live source (cameras.sh --help says what is live) the newest frame waits for the detector and
# replaces one that it had no time for, and tomeclassify leaves out regions of frames that have waited too
# long: a detector or a model that is slower than the camera gives fewer results, not later ones. Of a
# file every frame is looked at.
#
# Errors are one line on stderr, and status 2. It ends with its source, or by Ctrl-C, with status 0, and
# by SIGPIPE when nobody reads stdout any more. A source in which no region was found is no failure,
# but is said on stderr.
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
run_python detect_then_classify "$@"
