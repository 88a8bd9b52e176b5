"""Regions from a detector, each classified; detect-then-classify.sh starts it."""
import threading

import gi
gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

import motion_detector
from decoder import Decoder
from model import add_model_options, check_model_options, positive, set_model_options
from output import NOBODY_READS, count_frames, count_results, nobody_reads, number_of
from sources import STAMPED_BY_CAMERA, Parser, is_live, name_sources, scheme_of

# Where the detector, or what comes after it, is slower than a camera, frames that nobody has looked at
# make room for newer ones.
NEWEST = "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0"
# Before that, what comes in bursts, as HLS does, takes the time that it lasts, or most of it would
# make room; tomeclassify is told by this, too, that the stream is live.
PACED = f"clocksync sync-to-first=true ! {NEWEST}"
# Of a camera within a packet, as where its cable is pulled, before which nothing ends the script.
LONGEST_SILENCE_S = 10
BALL = "videotestsrc pattern=ball num-buffers=90 ! video/x-raw,width=640,height=480,framerate=30/1"


def parse_arguments(parser, arguments):
    add_model_options(parser)
    parser.add_argument("source", nargs="?")
    parser.add_argument("--detector")
    parser.add_argument("--object-class")
    parser.add_argument("--reclassify", type=int, default=1)
    parser.add_argument("--batch-size", type=positive, default=8)
    options = parser.parse_args(arguments)
    if options.model is None:
        parser.error("--model is missing: expected the folder of an image model, such as "
                     "google/vit-base-patch16-224 (README.md, Models)")
    check_model_options(options, parser)
    options.name = "ball"
    if options.source is not None:
        options.name, options.source = name_sources([options.source], parser)[0]
    return options


def way_to_detector(uri):
    if uri is None or not is_live(uri):
        return ""
    return f"{PACED if scheme_of(uri) in STAMPED_BY_CAMERA else NEWEST} ! "


def make_pipeline(options):
    source = f"{BALL} ! " if options.source is None else ""
    detector = options.detector or f"{motion_detector.CAPS} ! identity name=motion"
    late_policy = "skip" if options.source and is_live(options.source) else "process"
    # The sink keeps no time: nobody promises how long a detector takes, so by the clock every frame could
    # be late, and none be classified. tomeclassify knows by itself which live frames wait too long.
    pipeline = Gst.parse_launch(
        f"{source}videoconvert name=in qos=false ! {way_to_detector(options.source)}{detector} ! "
        f"tomeclassify name=classify inference-region=roi-list late-policy={late_policy} ! "
        "tomepublish name=publish ! fakesink sync=false")
    pipeline.get_by_name("publish").props.stream = options.name
    classify = pipeline.get_by_name("classify")
    set_model_options(classify, options)
    classify.set_property("object-class", options.object_class)
    classify.set_property("reclassify-interval", options.reclassify)
    classify.set_property("batch-size", options.batch_size)
    return pipeline


def why_no_result(options, classify):
    regions = f"region of {options.object_class}" if options.object_class else "region"
    return (f"{options.name}: no result: the detector found no {regions} in "
            f"{number_of(count_frames(classify), 'frame')}")


def run(pipeline, stop):
    """The message that ends it: an error, or EOS, which is None where a stop is the end."""
    bus = pipeline.get_bus()
    stopped = threading.Event()

    def on_stop(_status):
        stopped.set()
        bus.post(Gst.Message.new_eos(pipeline))

    # Before it plays, nothing has to be ended in order, and opening a model takes seconds.
    if pipeline.set_state(Gst.State.READY) != Gst.StateChangeReturn.FAILURE:
        stop.hand_to(on_stop)
        pipeline.set_state(Gst.State.PLAYING)
    end = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    return None if stopped.is_set() and end.type == Gst.MessageType.EOS else end


def main(program, arguments, stop):
    Gst.init(None)
    parser = Parser(program)
    options = parse_arguments(parser, arguments)
    try:
        pipeline = make_pipeline(options)
    except GLib.Error as error:
        parser.error(f"--detector: {error.message}")
    element = pipeline.get_by_name
    decoder = None
    if options.source is not None:
        decoder = Decoder(pipeline, options.source, element("in").get_static_pad("sink"), LONGEST_SILENCE_S)
    if motion := element("motion"):
        motion_detector.MotionDetector(motion)
    end = run(pipeline, stop)
    if end is not None and end.type == Gst.MessageType.EOS and count_results(element("publish")) == 0:
        parser.say(why_no_result(options, element("classify")))
    pipeline.set_state(Gst.State.NULL)
    if end is not None and end.type == Gst.MessageType.ERROR:
        if end.src == element("publish") and nobody_reads():
            return NOBODY_READS
        error = end.parse_error()[0]
        parser.error(decoder.why(error) if decoder else error.message)
    return 0
