#!/bin/bash
# The documented gst-launch lines with the real core and a real model.
#
#   tests/pipeline/tag_clips.sh BUILD_FOLDER SHARED_DATA
#
# Exit status 77 (skipped) where the model or the clips are not there.
set -euo pipefail

root=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
build=$(readlink -f "$1")
data=$2
model=$data/models/vit_tiny_patch16_224
clips=$data/clips/scenes
if [ ! -d "$model" ] || [ ! -f "$clips/skiing.mp4" ]; then
  echo "skipped: no test data in $data"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export GST_PLUGIN_PATH=$build/gst-plugin GST_REGISTRY=$scratch/registry.bin
unset TOMEVIT_LIBRARY
python=/usr/bin/python3
failures=0

check() {  # check WHAT COMMAND...: the command must succeed
  local what=$1
  shift
  if "$@"; then
    echo "ok: $what"
  else
    echo "FAILED: $what"
    failures=$((failures + 1))
  fi
}

# Most lines' leading tag is LABEL, and each line has the keys that are documented.
leading_tag_is() {
  "$python" - "$1" "$2" <<'EOF'
import json
import sys
lines = [json.loads(line) for line in open(sys.argv[2])]
keys = "time captured pts stream model element region object clip age tags tokens_in tokens_out".split()
right = sum(line["tags"][0]["label"] == sys.argv[1] for line in lines)
print(f"{right} of {len(lines)} frames: {sys.argv[1]}")
sys.exit(0 if lines and 2 * right > len(lines) and all(list(l) == keys for l in lines) else 1)
EOF
}

for clip in skiing:ski bottles:"water bottle"; do
  for r in 0 13; do
    name=${clip%%:*}
    lines=$scratch/$name-$r.jsonl
    gst-launch-1.0 -q filesrc location="$clips/$name.mp4" ! decodebin ! videoconvert ! \
      tomeclassify model="$model" tome-r=$r inference-interval=3 ! \
      tomepublish location="$lines" ! fakesink
    check "$name at r=$r" leading_tag_is "${clip#*:}" "$lines"
  done
done

gst-launch-1.0 filesrc location="$clips/skiing.mp4" ! decodebin ! videoconvert ! \
  tomeclassify model="$model" tome-r=13 inference-interval=10 top-k=5 ! \
  fakesink silent=false -v >"$scratch/verbose.txt"
check "fakesink shows the meta" grep -q "meta: .*GstTomeClassification" "$scratch/verbose.txt"

"$python" "$root/pipelines/read_meta.py" "$clips/skiing.mp4" "$model" >"$scratch/read.txt"
check "Python reads the meta" grep -q "age 0  ski 0\." "$scratch/read.txt"

# Without the core library the element is there and says what is missing.
export TOMEVIT_LIBRARY=/nonexistent/libtomevit.so.0
gst-inspect-1.0 tomeclassify >"$scratch/inspect.txt"
check "gst-inspect works without the core" grep -q "tome-prop-attn" "$scratch/inspect.txt"
gst-launch-1.0 videotestsrc num-buffers=1 ! tomeclassify model="$model" ! fakesink \
  >"$scratch/missing.txt" 2>&1 && check "a missing core fails" false
check "the error names the library" grep -q "$TOMEVIT_LIBRARY" "$scratch/missing.txt"
check "the error says how to install it" grep -q "setup.sh" "$scratch/missing.txt"

[ "$failures" -eq 0 ]
