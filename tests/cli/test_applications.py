"""The examples in docs/applications.md, as they stand there."""

import os
import re
import sys
import tempfile
from pathlib import Path

import tap
from program import ROOT, run

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
BUILD = Path(os.environ["TOME_BUILD"])
START = """
import time
import gi
gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst
Gst.init(None)

def play(description):
    global pipeline, bus
    pipeline = Gst.parse_launch("videotestsrc num-buffers=90 ! video/x-raw,format=I420,width=64,height=64,"
                                "framerate=30/1 ! " + description)
    bus = pipeline.get_bus()

def end():
    last = bus.timed_pop_filtered(30 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    assert last is not None, "neither EOS nor an error within 30 s"
    assert last.type == Gst.MessageType.EOS, last.parse_error()
    pipeline.set_state(Gst.State.NULL)
"""


def examples(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / "applications.md").read_text(), re.DOTALL)


def example(language, word):
    return next(text for text in examples(language) if word in text)


def python(program):
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run("env", f"GST_PLUGIN_PATH={BUILD / 'gst-plugin'}", f"GST_REGISTRY={folder}/registry.bin",
                               PYTHON, "-c", START + program)
    assert status == 0 and err == "", err
    return out


def changed_by(what):
    """What a clip of 90 frames is after the example's `what`: frames at the sink, those of `other`, smoothing."""
    definitions = example("python", "def change_between_frames").rpartition("change_between_frames(")[0]
    out = python(f"""
play("queue ! tomeclassify name=classify ! fakesink name=out sync=true")
classify, other = pipeline.get_by_name("classify"), Gst.ElementFactory.make("tomeclassify", "other")
{definitions}
times = []
def count(_pad, info):
    times.append(info.get_buffer().pts)
    return Gst.PadProbeReturn.OK
pipeline.get_by_name("out").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, count)
pipeline.set_state(Gst.State.PLAYING)
pipeline.get_state(30 * Gst.SECOND)
time.sleep(0.5)
change_between_frames(classify, {what})
end()
assert times == sorted(set(times)), times
print(len(times), other.get_property("stats").get_value("frames"), classify.get_property("smoothing"))
""")
    frames, of_other, smoothing = out.split()
    return int(frames), int(of_other), float(smoothing)


def test_a_change_of_properties_loses_no_frame():
    assert changed_by("smoother") == (90, 0, 0.5)


def test_another_element_loses_no_frame():
    frames, of_other, _ = changed_by("replace")
    assert frames == 90 and 0 < of_other < 90, (frames, of_other)


def test_what_reads_samples_and_messages():
    out = python(f"""
play("tomeclassify post-messages=true top-k=1 ! appsink name=sink emit-signals=true")
{example("python", "def on_sample")}
pipeline.get_by_name("sink").connect("new-sample", on_sample)
loop = GLib.MainLoop()
bus.add_signal_watch()
bus.connect("message::element", on_message)
{example("python", "message::latency")}
bus.connect("message::error", lambda *_: loop.quit())
bus.connect("message::eos", lambda *_: loop.quit())
pipeline.set_state(Gst.State.PLAYING)
loop.run()
pipeline.set_state(Gst.State.NULL)
""")
    lines = out.splitlines()
    samples = [line for line in lines if " camera-state [('" in line]
    messages = [line for line in lines if re.fullmatch(r"\d+ \[\['.*'\]\]", line)]
    # Windows of 8 frames: the first result stands on frame 7, and 11 of the 90 frames' windows are whole; the last
    # two frames are too few for one.
    assert len(samples) == 83 and len(messages) == 11 and len(lines) == 94, out


def test_the_probe_in_c_compiles():
    status, flags, err = run("pkg-config", "--cflags", "gstreamer-1.0")
    assert status == 0, err
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <gst/gst.h>\n" + example("c", "on_buffer") +
                          "extern GstPadProbeCallback callback;\nGstPadProbeCallback callback = on_buffer;\n")
        status, _, err = run("gcc", "-std=c99", "-Wall", "-pedantic", "-Werror", "-fsyntax-only", *flags.split(),
                             source)
    assert status == 0, err[:2000]


if __name__ == "__main__":
    tap.main(globals())
