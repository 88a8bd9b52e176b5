"""Tags any number of sources with one model; tag-video.sh, cameras.sh and rtsp-camera.sh start it.

Each source is a pipeline of its own, so that one that fails takes nothing with it:

    Decoder ! videoconvert ! tomeclassify model-instance-id=cameras ! tomepublish ! fakesink

A live source that is lost gets a new Decoder. The rest of its pipeline goes down to READY only,
in which tomeclassify keeps the model open.
"""
import os
import queue
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import gi
gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

from decoder import Decoder
from model import add_model_options, check_model_options, frames_of, positive, set_model_options
from output import (NOBODY_READS, count_frames, count_results, forward_time, nobody_reads, number_of, printable,
                    write_words)
from pace import Pace
from sources import (WEB_SCHEMES, Parser, is_live, is_utf8, name_of, name_sources, path_given, scheme_of,
                     why_no_file)
from stopping import TAG_VIDEO

FIRST_DELAY, LONGEST_DELAY = 1, 10  # seconds between two attempts to connect
MOST_WORDS = 1000  # lines that wait for a reader
CAMERA = "rtsp-camera.sh"


def parse_arguments(parser, arguments):
    program = parser.prog
    add_model_options(parser)
    parser.add_argument("--interval", type=positive, default=1)
    if program == TAG_VIDEO:
        parser.add_argument("sources", nargs="*", metavar="FILE")
        parser.set_defaults(batch_size=1, late_policy="process", timeout=None, loop=False)
    else:
        parser.add_argument("sources", nargs="+", metavar="SOURCE")
        parser.add_argument("--batch-size", type=positive)
        parser.add_argument("--late-policy", choices=["skip", "process"], default="skip")
        parser.add_argument("--timeout", type=positive, default=10)
        parser.add_argument("--loop", action="store_true")
    options = parser.parse_args(arguments)
    check_model_options(options, parser)
    options.without_passwords = parser.without_passwords
    given = options.sources
    if program == TAG_VIDEO:
        if len(given) > 1:
            parser.error(f"found a second file, '{given[1]}', expected one")
        options.sources = [named_file(checked_file(file, parser)) for file in given]
        return options
    options.sources = name_sources(given, parser)
    if program == CAMERA:
        if len(given) > 1:
            parser.error(f"found {len(given)} sources, expected one camera")
        if not is_live(options.sources[0][1]):
            found = given[0] if os.path.isfile(given[0]) else name_of(options.sources[0][1])
            parser.error(f"found '{found}', expected an address such as rtsp://camera/stream")
    return options


def checked_file(text, parser):
    file = path_given(text)
    if not os.path.isfile(file):
        is_address = is_utf8(file) and Gst.uri_is_valid(file) and "://" in file
        if is_address or file.startswith("/dev/video"):
            # Not the address itself, which may hold a password.
            parser.error("found an address or a camera, expected a file; cameras.sh takes those, and "
                         "rtsp-camera.sh one camera")
        parser.error(why_no_file(file))
    return file


def named_file(file):
    # Not resolved for the name: that of a link is its own.
    return name_of(Path(file).absolute().as_uri()), Path(file).resolve().as_uri()


class Source:
    """One source and its pipeline. `program` hears what becomes of it."""

    def __init__(self, name, uri, options, program):
        self.name, self.uri, self.options, self.program = name, uri, options, program
        self.live = is_live(uri)
        self.decoder = None
        self.delay = FIRST_DELAY
        self.frames = self.quiet_for = 0
        self.worked = False  # whether frames came, through any connection
        self.recording = None  # whether what it sent ends one day; None: not known yet
        self.retry = None  # of GLib, while waiting to connect again
        # By itself videoconvert drops frames that come late.
        self.pipeline = Gst.parse_launch(
            "videoconvert name=in qos=false ! tomeclassify name=classify model-instance-id=cameras ! "
            "tomepublish name=publish ! fakesink name=out")
        element = self.pipeline.get_by_name
        self.classify, self.publish = element("classify"), element("publish")
        self.set_up(options, element("out"))
        self.pace = Pace(element("out"), element("in").get_static_pad("sink"))
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        bus.connect("message::eos", self.on_end)
        bus.connect("message::latency", lambda *_: self.pipeline.recalculate_latency())

    def set_up(self, options, out):
        classify = self.classify
        set_model_options(classify, options)
        classify.set_property("inference-interval", options.interval)
        classify.set_property("batch-size",
                              options.batch_size or min(len(options.sources), 8))
        if self.live:
            Gst.util_set_object_arg(classify, "late-policy", options.late_policy)
        self.publish.props.stream = self.name
        self.publish.props.progress = self.program.name == TAG_VIDEO
        out.props.sync = self.live or options.loop
        # Where every frame is to be inferred, nobody is to hear that some are late, decoders included.
        out.props.qos = self.live and options.late_policy == "skip"

    def open_model(self):
        """An error's text, or None."""
        if self.pipeline.set_state(Gst.State.READY) != Gst.StateChangeReturn.FAILURE:
            return None
        message = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
        return message.parse_error()[0].message if message else "tomeclassify did not start"

    def start(self):
        """A fresh connection; also the way back to the start of a file."""
        self.retry = None
        self.frames = self.quiet_for = 0
        self.remove_decoder()
        sink = self.pipeline.get_by_name("in").get_static_pad("sink")
        self.decoder = Decoder(self.pipeline, self.uri, sink, self.options.timeout)
        live_for_gstreamer = self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.NO_PREROLL
        self.pace.start(follows=self.live and not live_for_gstreamer)
        return GLib.SOURCE_REMOVE

    def remove_decoder(self):
        if self.decoder is None:
            return
        self.pipeline.set_state(Gst.State.READY)
        self.decoder.remove()
        self.decoder = None

    def on_error(self, _bus, message):
        error = message.parse_error()[0]
        ours = message.src in (self.classify, self.publish)
        if message.src == self.publish and nobody_reads():
            self.program.end(NOBODY_READS)
        elif ours and not error.matches(Gst.stream_error_quark(), error.code):
            self.program.fail(f"{self.name}: {error.message}")
        elif self.decoder is not None:
            why = self.decoder.why(error)
            # Which no other attempt brings; but what has worked only sends something else for a while, such
            # as sound while its encoder starts.
            if self.decoder.lacks_decoder(error) and not self.worked:
                self.finish(why)
            else:
                self.lost(why)

    def on_end(self, _bus, _message):
        if self.decoder is None:
            return
        recording = self.is_recording() if self.recording is None else self.recording
        if self.live and not recording:
            self.lost("the stream ended")
        elif self.options.loop:
            self.start()
        else:
            self.finish(None)

    def is_recording(self):
        """Of the web, where no address tells: what has a length, as no camera has. A playlist has one from the
        moment at which its camera stops, so the answer that counts is that of the first frames."""
        known, length = self.pipeline.query_duration(Gst.Format.TIME)
        return scheme_of(self.uri) in WEB_SCHEMES and known and length > 0

    def lost(self, why, useless=False):
        if not self.live:
            self.finish(why)
            return
        if count_frames(self.classify) > 0:
            self.worked = True
            self.delay = self.delay if useless else FIRST_DELAY
        self.program.say(f"{self.name}: {why}; connecting again in {self.delay} s")
        self.remove_decoder()
        self.retry = GLib.timeout_add_seconds(self.delay, self.start)
        self.delay = min(2 * self.delay, LONGEST_DELAY)

    def finish(self, why):
        empty = why is None and count_results(self.publish) == 0
        note = self.why_no_result() if empty else None
        self.stop()  # which ends a line of progress
        if note is not None:
            self.program.say(f"{self.name}: {note}")
        self.program.finished(self, why)

    def why_no_result(self):
        found = f"no result: found {number_of(count_frames(self.classify), 'frame')}"
        window = frames_of(self.options)
        if window == 1:
            return found
        return (f"{found}, expected at least {(window + 1) // 2} of the {window} that this model takes as "
                "a clip")

    def stop(self):
        if self.retry is not None:
            GLib.source_remove(self.retry)
            self.retry = None
        self.remove_decoder()
        self.pipeline.set_state(Gst.State.NULL)
        self.pipeline.get_bus().remove_signal_watch()

    def watch(self):
        """Once a second: a live source that is connected and silent is lost too."""
        if not self.live or self.decoder is None:
            return
        frames = count_frames(self.classify)
        if frames and not self.frames and not self.is_fresh():
            return
        self.pace.second_passed(forward_time(self.classify))
        self.quiet_for = 0 if frames != self.frames else self.quiet_for + 1
        self.frames = frames
        if self.quiet_for >= self.options.timeout:
            self.lost(f"no frame for {self.options.timeout} s")

    def is_fresh(self):
        """Called once frames have come. False, and lost, if a camera sends a recording now: the last minute
        of a playlist whose camera has stopped, which would be tagged again and again."""
        recording = self.is_recording()
        if self.recording is None:
            self.recording = recording
        self.worked = True
        if recording and not self.recording:
            self.lost("the stream has ended", useless=True)
            return False
        self.program.say(f"{self.name}: connected")
        return True


class Words:
    """What is said on stderr, from a thread: whoever reads it may have stalled, as in `2>&1 | less`,
    and that must keep neither the sources nor the end waiting. What he is too far behind for is left
    out."""

    def __init__(self):
        self.waiting = queue.Queue(MOST_WORDS)
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def say(self, text):
        try:
            self.waiting.put_nowait(text)
        except queue.Full:
            pass

    def write(self):
        while (text := self.waiting.get()) is not None:
            write_words(text)

    def end(self):
        """Waits, not for ever, until all is written."""
        try:
            self.waiting.put(None, timeout=1)
        except queue.Full:
            return
        self.thread.join(timeout=1)


class Program:
    def __init__(self, name, options):
        self.name, self.status, self.failure = name, 0, None
        self.without_passwords = options.without_passwords
        self.words = Words()
        self.loop = GLib.MainLoop()
        self.sources = [Source(*source, options, self) for source in options.sources]

    def say(self, text):
        self.words.say(f"{self.name}: {printable(text)}\n")

    def end(self, status):
        self.status = status
        self.loop.quit()

    def fail(self, text):
        """What no source could mend, such as a model that does not open."""
        self.failure = self.failure or self.without_passwords(text)
        self.end(2)

    def finished(self, source, why):
        if why is not None:
            self.say(f"{source.name}: {why}")
            self.status = 2 if self.name == TAG_VIDEO else 1
        self.sources.remove(source)
        if not self.sources:
            self.loop.quit()

    def watch(self):
        for source in list(self.sources):
            source.watch()
        return GLib.SOURCE_CONTINUE

    def start(self):
        for source in self.sources:
            source.start()
        GLib.timeout_add_seconds(1, self.watch)
        return GLib.SOURCE_REMOVE

    def open_models(self):
        """False, and failed, if that does not go."""
        for source in self.sources:
            if error := source.open_model():
                self.fail(error)
                return False
        return True

    def run(self, stop):
        # Before any of it runs, nothing has to be ended in order, and opening takes seconds.
        if self.open_models():
            stop.hand_to(lambda status: GLib.idle_add(self.end, status, priority=GLib.PRIORITY_HIGH))
            GLib.idle_add(self.start)
            self.loop.run()
        for source in self.sources:
            source.stop()
        # Not before the pipelines are down, which ends a line of progress.
        if self.failure is not None:
            self.say(self.failure)
        self.words.end()
        return self.status


def make_demo_clip(clip, parser, stop):
    """True if that went well."""
    build = os.environ.get("TOME_BUILD")  # none where tome is installed
    tome = Path(build) / "tools" / "tome" if build else "tome"
    with stop.lock:
        try:
            child = subprocess.Popen([tome, "demo-clip", clip], stdout=2, preexec_fn=stop.restore)
        except OSError as error:
            parser.error(f"{tome}, which makes the demonstration clip, does not start: {error.strerror}")
        stop.undoing.append(lambda: (child.kill(), child.wait()))
    status = child.wait()
    with stop.lock:
        if -status in stop.heard:  # a terminal's Ctrl-C, which both get
            stop.end(status)
        return status == 0


@contextmanager
def scratch_folder(parser, stop):
    """One that a stop removes, too."""
    with stop.lock:
        try:
            folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        except OSError as error:
            parser.error(f"no temporary folder for the demonstration clip: {error.strerror}")
        stop.undoing.append(folder.cleanup)
    with folder as path:
        yield Path(path)


def main(name, arguments, stop):
    Gst.init(None)
    parser = Parser(name)
    options = parse_arguments(parser, arguments)
    if options.sources:
        return Program(name, options).run(stop)
    with scratch_folder(parser, stop) as folder:
        clip = folder / "camera.mp4"
        if not make_demo_clip(clip, parser, stop):
            return 2
        options.sources = [named_file(clip)]
        return Program(name, options).run(stop)
