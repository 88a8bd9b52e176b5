"""What is made of frames that come late to a sink: of its QoS events, as they pass upstream."""
import math
from collections import deque

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

SLACK = Gst.SECOND // 5  # for frames that take longer on their way than others
WINDOW = 10  # seconds, counted where frames came
RECURS = 3  # windows
HOPELESS = 5 * Gst.SECOND


class Pace:
    """Follows the clock of a camera that `out`, a sink, would otherwise lose.

    GStreamer's live sources are stamped by our own clock, or rtspsrc corrects the stamps. Of others (RTMP,
    FLV and HLS over HTTP) the camera's clock is what the sink waits by. Of one that runs slower, by as
    little as 50 ppm, all frames come late after some hours, and late-policy=skip would infer few of
    them. A sink that did not keep time would never say that frames are late, and then a model that is
    slower than the camera lags without bound. So the sink keeps time, and its time is moved behind the
    camera's:

    - by the least lateness, where all frames of some seconds are late. Overload is no part of that:
      frames without their inference catch up within a few forwards, and then come in time.
    - by the greatest, where one that no forward explains recurs: HLS comes in segments, the last frame of
      which is in time long after the first one is not.

    Of what passes on nothing reaches the decoder, which would drop frames where only inferences should be
    skipped, unless frames are so late that it must be the decoder itself that is too slow.
    """

    def __init__(self, out, pad):
        self.out = out
        self.follows = False
        self.start(follows=False)
        pad.add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self.on_event)

    def start(self, follows):
        """For a fresh connection, the clock of which is followed, or not."""
        self.follows = follows
        self.out.props.ts_offset = SLACK if follows else 0
        self.begin()

    def begin(self):
        self.late_for = 0  # seconds without a frame in time
        self.worst = deque([0], maxlen=RECURS)  # greatest lateness of each of the last windows
        self.seconds = 0  # of the window
        self.begin_second()

    def begin_second(self):
        self.seen = self.in_time = False
        self.least = math.inf  # lateness, nanoseconds

    def on_event(self, _pad, info):
        event = info.get_event()
        if event.type != Gst.EventType.QOS:
            return Gst.PadProbeReturn.OK
        lateness = event.parse_qos()[2]
        self.note(lateness)
        return Gst.PadProbeReturn.OK if lateness > HOPELESS else Gst.PadProbeReturn.DROP

    def note(self, lateness):
        self.seen = True
        if lateness <= 0:
            self.in_time = True
        self.least = min(self.least, lateness)
        self.worst[-1] = max(self.worst[-1], lateness)

    def second_passed(self, forward):
        """`forward` is what an inference takes, nanoseconds."""
        if not (self.follows and self.seen):
            return
        self.late_for = 0 if self.in_time else self.late_for + 1
        self.seconds += 1
        full = self.seconds == WINDOW
        recurring = min(self.worst) if full and len(self.worst) == RECURS else 0
        if self.late_for >= WINDOW:
            self.move_by(self.least)
        elif recurring > Gst.SECOND + 5 * forward:
            self.move_by(recurring)
        elif full:
            self.worst.append(0)
            self.seconds = 0
        self.begin_second()

    def move_by(self, lateness):
        self.out.props.ts_offset += lateness + SLACK
        self.begin()
