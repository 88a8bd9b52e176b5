"""pipelines/cameras.sh and pipelines/rtsp-camera.sh, on RTSP servers of this machine."""

import array
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from cable import Cable
from program import DATA, ROOT, VIT_TINY, assert_one_error_line, needs, run
from rtsp_server import PYTHON, RtspServer, free_port
from running import PATIENCE, Running, needs_build
import tap

CAMERAS = ROOT / "pipelines" / "cameras.sh"
CAMERA = ROOT / "pipelines" / "rtsp-camera.sh"
SCENES = DATA / "clips" / "scenes"
# How many frames a busy machine classifies in time is not what these tests are about.
ALL_FRAMES = ("--late-policy", "process", "--interval", "2", "--top-k", "1")

# What starting and stopping GStreamer takes on a busy machine; what hangs does so for ever.
STOP_PATIENCE = 40  # seconds
PIPE_SIZE = 1 << 16


def test_a_camera_that_dies_and_returns():
    needs_build()
    needs(VIT_TINY)
    with RtspServer("/live") as server:
        name = "127.0.0.1/live"
        with Running(CAMERA, "--model", VIT_TINY, *ALL_FRAMES, server.url("/live")) as camera:
            camera.wait_for_results(5, name)
            server.kill()
            camera.wait_for_words(name, "connecting again")
            # It is away for longer than the first attempt.
            camera.wait_for_words(name, "connecting again in 2 s")
            camera.forget_results()
            server.start()
            camera.wait_for_results(5, name)
            assert camera.stop() == 0, camera.said()


def test_a_camera_that_freezes_is_left_and_found_again():
    needs_build()
    needs(VIT_TINY)
    with RtspServer("/live") as server:
        with Running(
            CAMERA, "--model", VIT_TINY, *ALL_FRAMES, "--timeout", "2", f"door={server.url('/live')}"
        ) as camera:
            camera.wait_for_results(3, "door")
            server.process.send_signal(signal.SIGSTOP)
            camera.wait_for_words("door", "no frame for 2 s")
            server.process.send_signal(signal.SIGCONT)
            camera.forget_results()
            camera.wait_for_results(3, "door")
            assert camera.stop(signal.SIGTERM) == 0, camera.said()


def test_it_ends_while_a_camera_hangs_in_a_packet():
    """Nothing interrupts rtspsrc there, and by itself it waits for 20 s."""
    needs_build()
    needs(VIT_TINY)
    with RtspServer("/live") as server, Cable(server.port) as cable:
        address = f"door=rtsp://127.0.0.1:{cable.port}/live"
        with Running(CAMERA, "--model", VIT_TINY, *ALL_FRAMES, "--timeout", "2", address) as camera:
            camera.wait_for_results(1, "door")
            cable.pulled = True
            time.sleep(0.3)  # the next packet begins
            begin = time.monotonic()
            assert camera.stop() == 0, camera.said()
            assert time.monotonic() - begin < 15


def test_one_dead_source_among_three():
    needs_build()
    needs(VIT_TINY)
    with RtspServer("/gate", "/yard") as server:
        with Running(
            CAMERAS, "--model", VIT_TINY, *ALL_FRAMES,
            f"gate={server.url('/gate')}",
            f"dead=rtsp://127.0.0.1:{free_port()}/nothing",
            f"yard={server.url('/yard')}",
        ) as cameras:  # fmt: skip
            cameras.wait_for_words("dead", "connecting again")
            cameras.wait_for_results(8, "gate", "yard")
            assert cameras.stop() == 0, cameras.said()
            assert "gate" not in cameras.said().replace("gate: connected", ""), cameras.said()


def test_files_of_which_one_is_broken():
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    with tempfile.TemporaryDirectory() as scratch:
        broken = Path(scratch) / "broken one.mp4"
        broken.write_bytes(clip.read_bytes()[:2000])
        shutil.copy(clip, Path(scratch) / "a=b.mp4")
        status, out, err = run(
            CAMERAS, "--model", VIT_TINY, "--interval", "5", "--top-k", "2",
            clip, broken, "a=b.mp4", f"third={clip}", cwd=scratch,
        )  # fmt: skip
    assert status == 1, err
    assert err.count("\n") == 1 and "broken one.mp4: " in err, err
    lines = [json.loads(line) for line in out.splitlines()]
    per_stream = {}
    for line in lines:
        per_stream.setdefault(line["stream"], []).append(line)
    assert set(per_stream) == {"skiing.mp4", "a=b.mp4", "third"}, per_stream.keys()
    tags = [[line["tags"][0]["label"] for line in lines] for lines in per_stream.values()]
    assert tags[0] == tags[1] == tags[2] and len(tags[0]) == 19, tags
    assert tags[0].count("ski") > 9, tags[0]


def test_a_reader_that_goes_ends_it_quietly():
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    with Running(CAMERAS, "--model", VIT_TINY, "--loop", "--top-k", "1", clip, f"b={clip}") as cameras:
        cameras.next_result()
        # The thread that reads is in the way of close().
        os.dup2(os.open(os.devnull, os.O_RDONLY), cameras.process.stdout.fileno())
        assert cameras.process.wait(timeout=PATIENCE) == -signal.SIGPIPE
        assert cameras.said() == ""


def test_it_ends_when_nobody_reads():
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [CAMERAS, "--model", VIT_TINY, "--interval", "30", clip],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
    )  # fmt: skip
    os.close(writing)
    try:
        assert process.wait(timeout=PATIENCE) != 0
    finally:
        process.kill()


def unread(pipe):
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def stalled(number, *arguments):
    """Runs cameras.sh until a pipe that nobody reads is full, and sends it a signal."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    process = subprocess.Popen(
        [CAMERAS, "--model", VIT_TINY, "--loop", "--top-k", "200", *arguments],
        stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
    )  # fmt: skip
    try:
        begin = time.monotonic()
        while select.select([], [writing], [], 0)[1] and time.monotonic() - begin < PATIENCE:
            time.sleep(0.1)
        time.sleep(1)
        assert not select.select([], [writing], [], 0)[1], "the pipe is not full"
        # A few words about a camera would keep only its first page busy.
        assert unread(reading) > PIPE_SIZE // 2, unread(reading)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=STOP_PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)
        os.close(writing)


def test_it_ends_while_a_reader_stalls():
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    for number in (signal.SIGINT, signal.SIGTERM):
        stalled(number, clip, f"again={clip}")


def test_it_ends_while_a_reader_stalls_and_a_camera_is_lost():
    """What it has to say about the camera goes into the same full pipe."""
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    stalled(signal.SIGTERM, clip, f"dead=rtsp://127.0.0.1:{free_port()}/nothing")


def test_a_file_that_loops_starts_over():
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    with Running(
        CAMERAS, "--model", VIT_TINY, "--loop", "--interval", "30", "--top-k", "1", clip
    ) as cameras:
        starts = 0
        begin = time.monotonic()
        while starts < 3 and time.monotonic() - begin < PATIENCE:
            starts += cameras.next_result()["pts"] < 0.5
        assert starts == 3
        assert time.monotonic() - begin > 2 * 2.5, "at its own speed, 3 s"
        assert cameras.stop() == 0, cameras.said()


def test_a_file_that_loops_loses_no_frame():
    """Also where so many are more than the machine can infer in time."""
    needs_build()
    clip = SCENES / "skiing.mp4"
    needs(VIT_TINY, clip)
    sources = [f"{number}={clip}" for number in range(12)]
    with Running(
        CAMERAS, "--model", VIT_TINY, "--loop", "--top-k", "1", "--device", "cpu", "--precision", "fp32", *sources
    ) as cameras:
        times = {}
        while len(times.get("7", [])) < 40:
            line = cameras.next_result()
            times.setdefault(line["stream"], []).append(line["pts"])
        steps = [after - before for before, after in zip(times["7"], times["7"][1:])]
        assert max(steps) < 1.5 * min(steps), steps
        assert cameras.stop() == 0, cameras.said()


SPEAK = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from streams import Words
words = Words()
for number in range(20000):
    words.say(f"{number} and more\\n")
begin = time.monotonic()
words.end()
print(words.waiting.qsize() <= 1000, time.monotonic() - begin < 30)
"""


def test_what_a_stalled_reader_has_not_read_is_bounded():
    needs_build()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        spoken = subprocess.run(
            [PYTHON, "-c", SPEAK, ROOT / "pipelines"], stdout=subprocess.PIPE, stderr=writing, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(reading)
        os.close(writing)
    assert spoken.stdout.split() == ["True", "True"], spoken


def test_bad_arguments():
    needs_build()
    for script, arguments, words in (
        (CAMERAS, ["no-such.mp4"], ["no-such.mp4"]),
        # Before one that is there starts.
        (CAMERAS, [__file__, "yard=file:///no-such.mp4"], ["there is no file '/no-such.mp4'"]),
        (CAMERAS, [ROOT], [f"'{ROOT}' is a folder", "tome classify"]),
        (CAMERAS, ["--model", "/nonexistent", __file__], ["/nonexistent"]),
        (CAMERAS, ["--top-k", "0", __file__], ["--top-k"]),
        (CAMERAS, ["--batch-size", "2000", __file__], ["--batch-size: found 2000, expected 1 to 1024"]),
        (CAMERAS, [], ["SOURCE"]),
        (CAMERAS, ["--model", "/", __file__], ["config.json"]),
        (CAMERAS, ["--device", "tpu", __file__], ["tpu"]),
        (CAMERAS, ["--labels-file", "no-such.txt", __file__], ["no-such.txt"]),
        (CAMERA, ["http://camera/clip.mp4"], ["rtsp://"]),
        (CAMERA, [__file__], ["rtsp://"]),
        (CAMERA, [__file__, "--top-k", "3"], [f"found '{__file__}'", "rtsp://"]),
        (CAMERA, ["rtsp://a/b", "rtsp://a/c"], ["one camera"]),
    ):
        assert_one_error_line(run(script, *arguments), *words)


def test_no_error_repeats_a_password():
    needs_build()
    right, wrong = "http://admin:s3cret@h/snap.jpg", "rtsp//admin:s3cret@127.0.0.1/live"
    for script, arguments, word in (
        (CAMERA, [f"cam={right}"], "found 'h/snap.jpg', expected an address"),
        (CAMERA, [right], "found 'h/snap.jpg', expected an address"),
        (CAMERAS, [wrong], "there is no file '…@127.0.0.1/live'"),
        (CAMERAS, [f"cam={wrong}"], "there is no file '…@127.0.0.1/live'"),
        (CAMERAS, ["rtsp//127.0.0.1/a/user=admin&password=s3cret"], "there is no file 'rtsp//127.0.0.1/a/…'"),
        (CAMERAS, ["rtsp//127.0.0.1?user=admin&password=s3cret"], "there is no file 'rtsp//…'"),
        (CAMERAS, ["rtsp//admin:s3cret"], "there is no file 'rtsp//admin:…'"),
        # Where an option's own value was forgotten.
        (CAMERAS, ["--model", right, __file__], "--model: there is no folder '…@h/snap.jpg'"),
        (CAMERAS, ["--top-k", right, __file__], "--top-k: found '…@h/snap.jpg'"),
        (CAMERAS, ["--precision", "rtsp://admin:'s3cret\\@h", __file__], '--precision: invalid choice: "…@h"'),
        (CAMERAS, [f"--device={right}", __file__], "found '…@h/snap.jpg', expected auto"),
    ):
        result = run(script, *arguments, timeout=PATIENCE)
        assert_one_error_line(result, word)
        assert "s3cret" not in result[2], result


def test_files_that_do_not_exist_are_named():
    needs_build()
    for name in ("no such.mp4", "/videos//No-such.mp4", "/videos/überall.mp4"):
        assert_one_error_line(run(CAMERAS, name), f"there is no file '{name}'")


def test_a_name_is_one_line_that_no_terminal_obeys():
    needs_build()
    name = "a\x1b[31m\n\x9b1mü\u202eb.mp4"
    shown = "a [31m  1mü b.mp4"
    assert_one_error_line(run(CAMERAS, name), f"there is no file '{shown}'")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(b"no film")
        status, out, err = run(CAMERAS, name, cwd=folder)
        assert status == 1 and out == "" and err.count("\n") == 1, (status, out, err)
        assert err.startswith(f"cameras.sh: {shown}: ") and err.rstrip("\n").isprintable(), err


if __name__ == "__main__":
    tap.main(globals())
