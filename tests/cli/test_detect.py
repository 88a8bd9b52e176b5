"""pipelines/detect-then-classify.sh: a detector's regions, each with its own tags."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from program import ROOT, VIT_TINY, assert_one_error_line, needs, run, tome_ok
from rtsp_server import RtspServer
from running import Running, ends_quietly_without_its_reader, needs_build
from turned import turned_film
import tap

SCRIPT = ROOT / "pipelines" / "detect-then-classify.sh"
WIDTH, HEIGHT = 640, 480


def detect(*arguments):
    needs_build()
    needs(VIT_TINY)
    status, out, err = run(SCRIPT, "--model", VIT_TINY, *arguments)
    assert status == 0 and err == "", err
    return [json.loads(line) for line in out.splitlines()]


def where_the_ball_is(frames):
    """Bounding boxes (left, top, right, bottom) of what is bright in videotestsrc's first frames."""
    raw = subprocess.run(
        f"gst-launch-1.0 -q videotestsrc pattern=ball num-buffers={frames} ! "
        f"video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate=30/1 ! fdsink".split(),
        capture_output=True,
        check=True,
    ).stdout
    boxes = []
    for start in range(0, len(raw), WIDTH * HEIGHT):
        rows = [raw[at : at + WIDTH] for at in range(start, start + WIDTH * HEIGHT, WIDTH)]
        lit = [y for y, row in enumerate(rows) if max(row) > 128]
        columns = [x for y in lit for x, value in enumerate(rows[y]) if value > 128]
        boxes.append((min(columns), min(lit), max(columns), max(lit)))
    return boxes


def test_a_moving_ball_is_followed():
    lines = detect("--top-k", "1")
    boxes = where_the_ball_is(40)
    checked = 0
    for line in lines:
        frame = round(line["pts"] * 30)
        x, y, w, h = line["region"]
        assert 0 <= x and 0 <= y and x + w <= WIDTH and y + h <= HEIGHT, line
        assert len(line["tags"]) == 1 and line["stream"] == "ball", line
        if frame >= len(boxes):
            continue
        # What moves is where the ball was and where it is, to the detector's 8 pixels.
        (l0, t0, r0, b0), (l1, t1, r1, b1) = boxes[frame - 1], boxes[frame]
        assert abs(x - min(l0, l1)) <= 12 and abs(x + w - max(r0, r1)) <= 12, (frame, line, boxes)
        assert abs(y - min(t0, t1)) <= 12 and abs(y + h - max(b0, b1)) <= 12, (frame, line, boxes)
        checked += 1
    assert checked >= 35, checked


def test_a_tracked_region_is_classified_once():
    assert len(detect("--reclassify", "0")) == 1
    # Frames 1 to 89 have a region; 1, 31 and 61 are due.
    assert len(detect("--reclassify", "30")) == 3


def test_only_the_asked_classes():
    needs_build()
    needs(VIT_TINY)
    status, out, err = run(SCRIPT, "--model", VIT_TINY, "--object-class", "person,car")
    assert status == 0 and out == "" and err.count("\n") == 1, (status, out, err)
    assert "ball: no result: the detector found no region of person,car in 90 frames" in err, err
    assert len(detect("--object-class", "person, moving", "--reclassify", "0")) == 1


def test_a_live_camera():
    needs_build()
    needs(VIT_TINY)
    with RtspServer("/live") as server:
        with Running(SCRIPT, "--model", VIT_TINY, "--top-k", "1", server.url("/live")) as running:
            for _ in range(5):
                line = running.next_result()
                assert line["stream"] == "127.0.0.1/live" and line["region"] is not None, line
                assert line["region"][2] < 100, "a small part of the 160 pixels moves"
            assert running.stop() == 0, running.said()


def test_a_detector_that_is_slower_than_the_camera():
    """It sees every fourth frame or so, each of which is new."""
    needs_build()
    needs(VIT_TINY)
    slow = "video/x-raw,format=I420 ! identity sleep-time=400000 ! identity name=motion"
    with RtspServer("/live") as server:
        with Running(
            SCRIPT, "--model", VIT_TINY, "--top-k", "1", "--detector", slow, server.url("/live")
        ) as running:
            first, begin = running.next_result()["pts"], time.monotonic()
            seen = passed = 0
            while passed < 12:
                seen = running.next_result()["pts"] - first
                passed = time.monotonic() - begin
            assert seen > 0.75 * passed, (seen, passed)
            assert running.stop() == 0, running.said()


def test_films_upright():
    """Regions are those of the upright film, which is higher than wide."""
    needs_build()
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as folder:
        film, turned = Path(folder) / "film.mp4", Path(folder) / "turned.mp4"
        tome_ok("demo-clip", film, "--motion", "pan-left", "--frames", 4)
        turned.write_bytes(turned_film(film, 90))
        lower = max(region["region"][1] + region["region"][3] for region in detect(turned))
    assert lower > 360, lower


def test_a_reader_that_goes_ends_it_quietly():
    needs_build()
    needs(VIT_TINY)
    ends_quietly_without_its_reader(SCRIPT, "--model", VIT_TINY)


def test_bad_arguments():
    needs_build()
    for arguments, words in (
        ([], ["--model", "image model"]),
        (["--model", "/nonexistent"], ["/nonexistent"]),
        (["--model", ROOT / "models" / "camera-state"], ["clip"]),
        (["--model", "/", "no-such.mp4"], ["no-such.mp4"]),
        (["--model", "/", ROOT], [f"'{ROOT}' is a folder"]),
        (["--model", "/", "--detector", "nosuchelement"], ["nosuchelement"]),
        (["--model", "/", "--top-k", "0"], ["--top-k"]),
        (["--model", "/", "--reclassify", "-1"], ["--reclassify"]),
        (["--model", "/", "--reclassify", "99999999999"], ["--reclassify: found 99999999999, expected 0 to"]),
        (["--model", "", "x.mp4"], ["--model is missing"]),
        (["--model", "/", "--threshold", "inf"], ["--threshold"]),
    ):
        assert_one_error_line(run(SCRIPT, *arguments), *words)


if __name__ == "__main__":
    tap.main(globals())
