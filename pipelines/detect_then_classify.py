"""Regions from a detector, each classified; detect-then-classify.sh starts it."""
import sys
from pathlib import Path

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

import motion_detector
from sources import Parser, name_sources

BALL = "videotestsrc pattern=ball num-buffers=90 ! video/x-raw,width=640,height=480,framerate=30/1"


def parse_arguments(parser, arguments):
    parser.add_argument("source", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--detector")
    parser.add_argument("--object-class")
    parser.add_argument("--reclassify", type=int, default=1)
    parser.add_argument("--r")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args(arguments)
    if options.model is None:
        parser.error("--model is missing: expected the folder of an image model, such as "
                     "google/vit-base-patch16-224 (README.md, Models)")
    if not Path(options.model).is_dir():
        parser.error(f"--model: there is no folder '{options.model}'")
    for name in ("reclassify", "top_k", "batch_size"):
        least = 0 if name == "reclassify" else 1
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(options, name)}, expected "
                         f"{least} or more")
    options.name = "ball"
    if options.source is not None:
        options.name, options.source = name_sources([options.source], parser)[0]
    return options


def make_pipeline(options):
    source = BALL if options.source is None else "uridecodebin name=source"
    detector = options.detector or f"{motion_detector.CAPS} ! identity name=motion"
    pipeline = Gst.parse_launch(
        f"{source} ! videoconvert ! {detector} ! "
        "tomeclassify name=classify inference-region=roi-list ! tomepublish name=publish ! "
        "fakesink sync=false")
    if options.source is not None:
        decoder = pipeline.get_by_name("source")
        decoder.props.uri = options.source
        decoder.props.caps = Gst.Caps.from_string("video/x-raw(ANY)")
        decoder.set_property("expose-all-streams", False)
    pipeline.get_by_name("publish").props.stream = options.name
    classify = pipeline.get_by_name("classify")
    classify.props.model = str(Path(options.model).resolve())
    classify.set_property("object-class", options.object_class)
    classify.set_property("reclassify-interval", options.reclassify)
    classify.set_property("tome-r", options.r)
    classify.set_property("top-k", options.top_k)
    classify.set_property("batch-size", options.batch_size)
    return pipeline


def main(program, arguments):
    Gst.init(None)
    parser = Parser(program)
    options = parse_arguments(parser, arguments)
    try:
        pipeline = make_pipeline(options)
    except gi.repository.GLib.Error as error:
        parser.error(f"--detector: {error.message}")
    if motion := pipeline.get_by_name("motion"):
        motion_detector.MotionDetector(motion)
    bus = pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    end = None
    try:
        while end is None:  # in short turns, in which Python hears Ctrl-C
            end = bus.timed_pop_filtered(Gst.SECOND // 5, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    except KeyboardInterrupt:
        pass
    pipeline.set_state(Gst.State.NULL)
    if end is not None and end.type == Gst.MessageType.ERROR:
        parser.error(end.parse_error()[0].message)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
