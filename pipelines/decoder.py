"""Opens a source: its first video, upright, whatever else it holds."""
import re

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

from sources import is_live, scheme_of

# By themselves both drop frames that come late.
TURN = "videoconvert qos=false ! videoflip video-direction=auto qos=false"
JITTER_BUFFER_MS = 200
GIF = "image/gif"  # GStreamer's decoder of which never ends
# What is said of a picture that is not decoded, where more is known than its type.
PICTURES = {"image/jpeg": "a JPEG that GStreamer does not decode, such as one in CMYK"}


class Decoder:
    """A uridecodebin in `pipeline` that feeds `sink`; its state is the caller's to set."""

    def __init__(self, pipeline, uri, sink, timeout):
        """timeout: seconds after which a silent camera is given up; None where nobody gives it up."""
        self.pipeline, self.sink, self.timeout = pipeline, sink, timeout
        self.found = []  # media types, the container's first
        self.turn = None
        self.element = Gst.ElementFactory.make("uridecodebin")
        self.element.props.uri = uri
        # Sound is not even decoded.
        self.element.props.caps = Gst.Caps.from_string("video/x-raw(ANY)")
        self.element.set_property("expose-all-streams", False)
        self.element.connect("autoplug-continue", self.on_type)
        self.element.connect("pad-added", self.link)
        self.element.connect("source-setup", self.set_up_rtsp)
        self.element.connect("deep-element-added", self.set_up_mjpeg)
        pipeline.add(self.element)

    def on_type(self, _element, _pad, caps):
        # From the text: what get_structure() gives has no name from GStreamer 1.26 on.
        self.found.append(re.split("[,(]", caps.to_string(), maxsplit=1)[0])
        return GIF not in self.found

    def set_up_rtsp(self, _element, source):
        if source.get_factory().get_name() != "rtspsrc":
            return
        source.props.latency = JITTER_BUFFER_MS
        # Nothing ends a wait for the rest of a packet, the way to READY least of all. A camera that is silent
        # for so long is given up anyway.
        if self.timeout is not None:
            source.props.tcp_timeout = min(source.props.tcp_timeout, self.timeout * 10**6)  # microseconds
        if scheme_of(self.element.props.uri) in ("rtsp", "rtsps"):
            # Nothing is lost on the way, and a camera that goes is noticed at once.
            Gst.util_set_object_arg(source, "protocols", "tcp")

    def set_up_mjpeg(self, _element, _bin, added):
        if (factory := added.get_factory()) and factory.get_name() == "multipartdemux":
            # It cannot know, and else decodebin waits for further streams until 2 MB have come.
            added.props.single_stream = True

    def lacks_decoder(self, error):
        """False of a text, for which there never is one: what a camera may send while it starts."""
        return GIF in self.found or (
            error.matches(Gst.core_error_quark(), Gst.CoreError.MISSING_PLUGIN) and
            not "".join(self.found[:1]).startswith("text/"))

    def why(self, error):
        """What an error of this source is about, for people."""
        inside = [kind.partition("/")[0] for kind in self.found[1:]]
        if (error.matches(Gst.core_error_quark(), Gst.CoreError.MISSING_PLUGIN) and
                "audio" in inside and "video" not in inside and "image" not in inside):
            return "there is no video in it"
        if self.is_picture() and error.matches(Gst.stream_error_quark(), error.code):
            kind = PICTURES.get(self.found[0], f"{self.found[0]}, which GStreamer does not decode")
            return f"this is {kind}; `tome classify` reads more kinds of pictures"
        return error.message.rstrip(".")

    def is_picture(self):
        """False of a camera that sends its frames as pictures."""
        return GIF in self.found or (
            "".join(self.found[:1]).startswith("image/") and not is_live(self.element.props.uri))

    def link(self, _element, pad):
        if self.sink.is_linked() or GIF in self.found:
            return
        pad.add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, self.on_event)
        pad.link(self.sink)

    def on_event(self, pad, info):
        """A phone's video lies on its side and has a tag that says so, before the first frame. Only then
        is something put in the way, which knows system memory alone: other videos stay as they are,
        in CUDA memory too."""
        event = info.get_event()
        if event.type != Gst.EventType.TAG:
            return Gst.PadProbeReturn.OK
        tagged, orientation = event.parse_tag().get_string(Gst.TAG_IMAGE_ORIENTATION)
        if not tagged or orientation == "rotate-0":
            return Gst.PadProbeReturn.OK
        self.turn = Gst.parse_bin_from_description(TURN, True)
        self.pipeline.add(self.turn)
        pad.unlink(self.sink)
        self.turn.get_static_pad("src").link(self.sink)
        self.turn.sync_state_with_parent()
        pad.link(self.turn.get_static_pad("sink"))
        return Gst.PadProbeReturn.REMOVE

    def remove(self):
        for element in (self.element, self.turn):
            if element is not None:
                element.set_state(Gst.State.NULL)
                self.pipeline.remove(element)
