#!/bin/bash
# Tags a video: one JSON object a line on stdout for each result, progress on stderr.
#
#   pipelines/tag-video.sh [options] [FILE]
#
#   FILE                 any video that GStreamer decodes; default: a clip made on the spot, in which
#                        a virtual camera pans, tilts, zooms, rolls, shakes, is covered, defocused,
#                        frozen
#   --model DIR          model folder in Hugging Face layout; default: models/camera-state, which ships
#   --r SPEC             tokens to merge in each block: 0, 13, 16:-1, 16,8,4, keep=0.5; default: the
#                        model's
#   --labels-file FILE   one label a line, in class order; default: the model's
#   --device WHERE       auto, cpu, cuda, cuda:N; default: auto, CUDA where it is usable
#   --precision WHAT     auto, fp32, bf16, fp16, int8; default: auto, the fastest that keeps the accuracy
#   --top-k N            tags of each result; default: 5
#   --threshold SCORE    leaves out tags with a lower score; default: 0
#   --interval N         every n-th frame, or window of a clip model; default: 1
#
# Errors are one line on stderr, and status 2. A file without a result, such as a picture with a clip
# model, is no error, but is said on stderr. Ctrl-C (or SIGTERM) ends it at any time, as it ends other
# programs: with status 130 (143), since the lines so far are not all.
#
# A video is turned upright as it says; the orientation that a JPEG has in its EXIF data is not applied
# here, `tome classify` applies it.
set -euo pipefail

. "$(dirname "$(readlink -f "$0")")/environment.sh"
run_python streams "$@"
