"""`tome train` as its user runs it: killed and gone on, what it writes, and what it refuses."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import tap
from program import TOME, assert_one_error_line, tome, tome_ok

TINY = ["--size", "32", "--patch", "8", "--dim", "24", "--depth", "2", "--heads", "2"]
TINY += ["--frames", "4", "--batch", "4", "--r", "2", "--warmup", "2", "--threads", "1"]


def write_folder(folder):
    """Two small videos of two classes, each in both splits."""
    rows = ["file,label,split"]
    for motion in ("pan-left", "zoom-in"):
        name = f"{motion}.avi"
        tome_ok("demo-clip", folder / name, "--motion", motion, "--frames", "12", "--width", "64", "--height", "48")
        rows += [f"{name},{motion},train", f"{name},{motion},val"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def train(data, out, *more):
    return ["train", "--data", data, "--out", out, *TINY, *more]


def test_a_killed_run_ends_as_one_that_was_not():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        write_folder(data)
        more = ["--steps", "60", "--save-every", "5", "--mixup", "0.2", "--jitter", "0.3"]
        more += ["--drop-path", "0.1", "--layer-decay", "0.8", "--precision", "bf16"]
        whole, killed = Path(scratch) / "whole", Path(scratch) / "killed"
        tome_ok(*train(data, whole, *more))
        command = [TOME, *map(str, train(data, killed, *more))]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (killed / "state.safetensors").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        assert not (killed / "model.safetensors").exists()
        tome_ok(*train(data, killed, *more))
        weights = "model.safetensors"
        assert (whole / weights).read_bytes() == (killed / weights).read_bytes()
        steps = [json.loads(line) for line in (killed / "log.jsonl").open()]
        assert [line["step"] for line in steps if "loss" in line] == [20, 40, 60], steps
        # The result is a model like any other.
        out = tome_ok("classify", "--model", killed, "--json", data / "pan-left.avi")
        first = json.loads(out.splitlines()[0])
        assert {tag["label"] for tag in first["tags"]} == {"pan-left", "zoom-in"}, first
        assert json.loads((killed / "config.json").read_text())["tome_r"] == "2"


def test_a_video_that_ends_in_the_middle_is_trained_on():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        write_folder(data)
        video = data / "pan-left.avi"
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
        tome_ok(*train(data, data / "out", "--steps", "2"))


def test_what_is_refused():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        out = Path(scratch) / "out"
        assert_one_error_line(tome("train", "--out", out), "--data", "--generator")
        assert_one_error_line(tome(*train(data, out)), "labels.csv")
        (data / "labels.csv").write_text("file,label,split\n")
        assert_one_error_line(tome(*train(data, out)), "labels.csv", "label")
        (data / "labels.csv").write_text("file,label,split\nnone.avi,a,train\nnone.avi,b,val\n")
        assert_one_error_line(tome(*train(data, out)), "none.avi", "no such file")
        (data / "none.avi").write_bytes(b"no video at all")
        assert_one_error_line(tome(*train(data, out)), "none.avi")
        shutil.rmtree(data)
        data.mkdir()
        write_folder(data)
        assert_one_error_line(tome(*train(data, out, "--split", "test")), "split 'test'")
        # An option given twice is an error of its own, so these leave TINY out.
        plain = ["train", "--data", data, "--out", out]
        odd = [*plain, "--frames", "7", "--tubelet", "2"]
        assert_one_error_line(tome(*odd), "--frames 7", "--tubelet 2")
        assert_one_error_line(tome(*plain, "--size", "50"), "--size 50", "--patch 16")
        assert_one_error_line(tome(*plain, "--partition", "stripes"), "stripes", "checkerboard")
        assert_one_error_line(tome(*plain, "--mixup", "0.2", "--motion-loss", "0.1"), "--mixup")
        assert_one_error_line(tome(*plain, "--init", "/nonexistent"), "/nonexistent")
        assert_one_error_line(tome(*plain, "--r", "fast"), "fast")


if __name__ == "__main__":
    tap.main(globals())
