"""pipelines/read_meta.py: the program that users copy."""

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import tap
from program import ROOT, run, tome_ok
from running import Running, ends_quietly_without_its_reader, needs_build

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
SCRIPT = ROOT / "pipelines" / "read_meta.py"
ELEMENTS = Path(os.environ["TOME_BUILD"]) / "gst-plugin"


def reading(folder):
    """The command; GStreamer's registry is in `folder`."""
    needs_build()
    return ["env", f"GST_PLUGIN_PATH={ELEMENTS}", f"GST_REGISTRY={folder}/registry.bin", PYTHON, SCRIPT]


def demo_film(folder, frames, *size):
    film = Path(folder) / "film.mp4"
    tome_ok("demo-clip", film, "--motion", "pan-left", "--frames", frames, *size)
    return film


def test_help():
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(*reading(folder), "--help")
    assert status == 0 and err == "" and out.startswith("usage: read_meta.py"), (status, out, err)


def test_what_it_reads():
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(*reading(folder), demo_film(folder, 16), ROOT / "models" / "camera-state")
    assert status == 0 and err == "", err
    lines = out.splitlines()
    # From the end of the first window of 8 frames on, each frame has a result.
    assert len(lines) == 9, out
    assert re.fullmatch(r" +0\.\d{3} s  age 0  pan-left [01]\.\d\d, .*", lines[0]), out


def test_a_reader_that_goes_ends_it_quietly():
    with tempfile.TemporaryDirectory() as folder:
        ends_quietly_without_its_reader(*reading(folder), demo_film(folder, 200, "--width", 160, "--height", 120))


def test_an_interrupt_ends_it():
    with tempfile.TemporaryDirectory() as folder:
        # Small, for it is soon written, and long, so that it does not end before the signal comes.
        film = demo_film(folder, 4000, "--width", 64, "--height", 48)
        with Running(*reading(folder), film) as process:
            process.results.get(timeout=60)
            assert process.stop() == -signal.SIGINT, process.said()
            assert process.said() == ""


if __name__ == "__main__":
    tap.main(globals())
