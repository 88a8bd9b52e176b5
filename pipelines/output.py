"""What a pipeline has put out, and how a program ends when nobody reads that."""
import os
import select
import signal

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

NOBODY_READS = -signal.SIGPIPE  # a status


def count_frames(classify):
    return classify.props.stats.get_uint64("frames").value


def forward_time(classify):
    """Of the usual batch, nanoseconds."""
    return int(classify.props.stats.get_double("inference-p50").value * Gst.MSECOND)


def count_results(publish):
    return publish.props.stats.get_uint64("published").value


def number_of(count, what):
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def nobody_reads():
    """True if standard output is a pipe whose reader has gone, as after `| head -1`."""
    look = select.poll()
    look.register(1, 0)
    return any(events & select.POLLERR for _, events in look.poll(0))


def status_for_exit(status):
    """Of a status that is -SIGNAL, ends the process as that signal ends others, quietly: a shell sees
    128 + SIGNAL, and that a script was interrupted. Any other status is returned."""
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status
