#!/usr/bin/python3
"""Reads the tags that tomeclassify attaches, with GStreamer's Python bindings alone. Run it in
`meson devenv -C build`, or after installing."""
import argparse
import signal
import sys

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst


def on_buffer(_pad, info):
    buffer = info.get_buffer()
    meta = buffer.get_custom_meta("GstTomeClassification")
    for result in meta.get_structure()["results"] if meta else []:
        tags = ", ".join(f"{label} {score:.2f}"
                         for label, score in zip(result["labels"], result["scores"]))
        print(f"{buffer.pts / Gst.SECOND:8.3f} s  age {result['age']}  {tags}", flush=True)
    return Gst.PadProbeReturn.OK


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("video")
parser.add_argument("model", nargs="?", help="model folder; default: models/camera-state")
arguments = parser.parse_args()

# Python would hear neither Ctrl-C nor the end of a reader such as `head` while GStreamer works.
for number in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)
Gst.init(None)
pipeline = Gst.parse_launch("filesrc name=file ! decodebin ! videoconvert ! "
                            "videoflip video-direction=auto ! "  # upright, whatever the phone
                            "tomeclassify name=tome top-k=3 ! fakesink name=sink sync=false")
pipeline.get_by_name("file").set_property("location", arguments.video)
pipeline.get_by_name("tome").set_property("model", arguments.model)
sink = pipeline.get_by_name("sink").get_static_pad("sink")
sink.add_probe(Gst.PadProbeType.BUFFER, on_buffer)
pipeline.set_state(Gst.State.PLAYING)
end = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE,
                                            Gst.MessageType.EOS | Gst.MessageType.ERROR)
pipeline.set_state(Gst.State.NULL)
if end.type == Gst.MessageType.ERROR:
    sys.exit(f"read_meta.py: {end.parse_error()[0].message}")
