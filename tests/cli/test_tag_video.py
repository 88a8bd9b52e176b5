"""pipelines/tag-video.sh: what a pipeline says of real videos, from any place."""

import json
import os
import shutil
import tempfile
from itertools import groupby
from pathlib import Path

import tap
from program import DATA, ROOT, VIT_TINY, needs, run
from running import needs_build

SCRIPT = ROOT / "pipelines" / "tag-video.sh"
SCENES = DATA / "clips" / "scenes"
# What the camera of the demonstration clip does, one after another.
DEMO_STATES = "steady pan-left tilt-up zoom-in roll shake covered defocused frozen".split()
KEYS = "time pts stream model region clip age tags tokens_in tokens_out".split()


def tag(*arguments, **options):
    needs_build()
    status, out, err = run(SCRIPT, *arguments, **options)
    assert status == 0, f"status {status}: {err}"
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines, err
    for line in lines:
        assert [key for key in KEYS if key not in line] == [], line
    return lines


def check_leading(name, word, *arguments):
    video = SCENES / name
    needs(VIT_TINY, video)
    lines = tag("--model", VIT_TINY, *arguments, video)
    hits = sum(word in line["tags"][0]["label"] for line in lines if line["tags"])
    assert hits > len(lines) / 2, f"{hits} of {len(lines)}"
    return lines


def test_skiing():
    lines = check_leading("skiing.mp4", "ski")
    assert {line["tokens_out"] for line in lines} == {197}


def test_skiing_merged():
    lines = check_leading("skiing.mp4", "ski", "--r", "13")
    assert {line["tokens_out"] for line in lines} == {41}


def test_bottles():
    check_leading("bottles.mp4", "water bottle")


def test_bottles_merged():
    check_leading("bottles.mp4", "water bottle", "--r", "13", "--top-k", "1")


def test_paths_with_spaces_from_elsewhere():
    video = SCENES / "skiing.mp4"
    needs(VIT_TINY, video)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / 'a "b" c'
        folder.mkdir()
        shutil.copy(video, folder / "my clip.mp4")
        os.symlink(VIT_TINY, folder / "my model")
        lines = tag("--model", "my model", "--top-k", "2", "my clip.mp4", cwd=folder)
        assert all(len(line["tags"]) <= 2 for line in lines)


def test_without_file():
    needs_build()
    if not (ROOT / "models" / "camera-state").exists():
        raise tap.Skip("models/camera-state is not there")
    labels = [label for label, _ in groupby(line["tags"][0]["label"] for line in tag())]
    assert labels == DEMO_STATES, labels


def test_bad_arguments():
    for arguments, word in (
        (["--model", "/nonexistent", "x.mp4"], "/nonexistent"),
        (["--model", "/", "no-such.mp4"], "no-such.mp4"),
        (["--speed"], "--speed"),
        (["--r"], "--r"),
        (["--top-k", "0", __file__], "--top-k"),
    ):
        status, out, err = run(SCRIPT, *arguments)
        assert status == 2 and out == "" and err.count("\n") == 1 and word in err, (out, err)


if __name__ == "__main__":
    tap.main(globals())
