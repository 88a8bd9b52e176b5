"""pipelines/tag-video.sh: what a pipeline says of real videos, from any place."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import wave
from itertools import groupby
from pathlib import Path

import tap
from program import DATA, ROOT, VIT_TINY, assert_one_error_line, needs, needs_eight_bits, run, tome_ok
from running import PATIENCE, Running, ends_quietly_without_its_reader, needs_build
from turned import SEEN, turned_film

SCRIPT = ROOT / "pipelines" / "tag-video.sh"
SCENES = DATA / "clips" / "scenes"
# What the camera of the demonstration clip does, one after another.
DEMO_STATES = "steady pan-left tilt-up zoom-in roll shake covered defocused frozen".split()
# 8x8 pixels in CMYK, and one in colours of a palette.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwD/////////////////////////////////////////////////////////////////////"
    "/////////////////8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAID/8QAFBABAAAAAAAAAAAAAAAAA"
    "AAAAP/aAA4EQwBNAFkASwAAPwChmb//2Q==")
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAkQBADs=")
KEYS = "time captured pts stream model element region clip age tags tokens_in tokens_out".split()


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


def test_skiing_in_eight_bits():
    needs_eight_bits()
    check_leading("skiing.mp4", "ski", "--r", "13", "--precision", "int8", "--device", "cpu")


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


def demo_film(folder, frames, *size):
    film = Path(folder) / "film.mp4"
    tome_ok("demo-clip", film, "--motion", "pan-left", "--frames", frames, *size)
    return film


def test_films_upright():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        film = demo_film(folder, 16)
        for turn, state in SEEN.items():
            if turn == "mirrored-90":
                continue  # qtdemux of GStreamer 1.22 has no tag for it
            turned = Path(folder) / f"{turn}.mp4"
            turned.write_bytes(turned_film(film, turn))
            labels = [line["tags"][0]["label"] for line in tag(turned)]
            assert labels == [state] * 2, (turn, labels)


def coloured_film(film, picture, form, colorimetry):
    """Two frames of a picture, without loss, in those colours."""
    # From RGB: another range alone would not be converted.
    line = f"filesrc location={picture} ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! "
    line += "imagefreeze num-buffers=2 ! videoconvert dither=none ! "
    line += f"video/x-raw,format={form},colorimetry={colorimetry} ! "
    line += f"avenc_ffv1 ! matroskamux ! filesink location={film}"
    subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True)


def test_colours_are_those_of_tome():
    """In every colorimetry, the scores of frames that GStreamer decodes are those of `tome classify`."""
    picture = DATA / "images" / "dali-extra" / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    options = ["--model", VIT_TINY, "--r", "0", "--top-k", "1000", "--precision", "fp32", "--device", "cpu"]
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for form, colorimetry in (("I420", "bt601"), ("I420", "bt709"), ("I420", "1:4:5:1"), ("I420", "1:3:5:1"),
                                  ("I420_10LE", "bt2020"), ("GRAY8", "1:4:5:1")):
            film = Path(folder) / "film.mkv"
            coloured_film(film, picture, form, colorimetry)
            lines = [json.loads(line) for line in tome_ok("classify", "--json", *options, film).splitlines()]
            both = [{tag["id"]: tag["score"] for tag in row["tags"]} for row in (tag(*options, film)[0], lines[0])]
            assert both[0].keys() == both[1].keys()
            worst = max(abs(score - both[1][key]) for key, score in both[0].items())
            assert worst < 1e-4, (form, colorimetry, worst)
            seen.append(max(both[0].values()))
    assert len(set(seen[:4])) == 4, "what is in the file is what it was converted to"


def test_options_of_the_model():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        film, labels = demo_film(folder, 32), Path(folder) / "labels.txt"
        labels.write_text("".join(f"state {number}\n" for number in range(12)))
        options = ["--device", "cpu", "--precision", "fp32", "--threshold", "0.5", "--interval", "2"]
        lines = tag(*options, "--labels-file", labels, film)
        assert [[tag["label"] for tag in line["tags"]] for line in lines] == [["state 1"]] * 2, lines


def test_a_file_without_a_result():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        status, out, err = run(SCRIPT, demo_film(folder, 3))
    assert status == 0 and out == "" and err.count("\n") == 1, (status, out, err)
    assert "film.mp4: no result: found 3 frames, expected at least 4 of the 8" in err, err


def test_a_reader_that_goes_ends_it_quietly():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        ends_quietly_without_its_reader(SCRIPT, demo_film(folder, 200, "--width", 160, "--height", 120))


def test_an_interrupted_film_is_no_success():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        # Small, for it is soon written.
        film = demo_film(folder, 4000, "--width", 64, "--height", 48)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Long and slow, so that the film does not end before the signal comes.
            with Running(SCRIPT, "--device", "cpu", "--precision", "fp32", film) as tagging:
                tagging.next_result()
                assert tagging.stop(number) == -number, tagging.said()
                assert "Traceback" not in tagging.said(), tagging.said()


def test_an_interrupted_demonstration_leaves_nothing():
    needs_build()
    for number, send in ((signal.SIGINT, os.kill), (signal.SIGTERM, os.kill),
                         (signal.SIGINT, os.killpg)):  # the last as a terminal does
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [SCRIPT], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                env=os.environ | {"TMPDIR": folder}, start_new_session=True,
            )  # fmt: skip
            try:
                begin = time.monotonic()
                while not any(Path(folder).glob("*/camera.mp4")) and time.monotonic() - begin < PATIENCE:
                    time.sleep(0.02)
                send(process.pid, number)
                err = process.communicate(timeout=PATIENCE)[1]
            finally:
                process.kill()
            assert process.returncode == -number and err == "", (process.returncode, err)
            assert os.listdir(folder) == [], os.listdir(folder)


def test_options_without_a_value_are_not_given():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        film = demo_film(folder, 16)
        lines = tag("--model", "", "--labels-file", "", "--r", "", "--device", "", film, cwd=folder)
    assert {line["model"] for line in lines} == {"camera-state"}, lines


def test_help_at_any_place():
    for arguments in (["--help"], ["--top-k", "3", "-h"], ["no-such.mp4", "--help"]):
        status, out, err = run(SCRIPT, *arguments)
        assert status == 0 and err == "" and out.startswith("Tags a video"), (status, out, err)
    needs_build()
    assert_one_error_line(run(SCRIPT, "--", "--help"), "there is no file '--help'")


def test_what_is_no_video():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        sound, text = Path(folder) / "sound.wav", Path(folder) / "text.mp4"
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(16000))
        assert_one_error_line(run(SCRIPT, sound), "sound.wav: there is no video in it")
        text.write_text("no video\n")
        assert_one_error_line(run(SCRIPT, text), "text.mp4: ")


def test_pictures_that_are_not_decoded():
    """GStreamer's decoder of GIF never ends, and of a CMYK picture it says nothing."""
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        for name, data, word in (("a.gif", GIF, "image/gif"), ("a.jpg", CMYK_JPEG, "CMYK")):
            file = Path(folder) / name
            file.write_bytes(data)
            assert_one_error_line(run(SCRIPT, file, timeout=PATIENCE), f"{name}: this is ", word, "tome classify")


def test_addresses_of_files():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        film = demo_film(folder, 16)
        spaced = film.rename(film.with_name("a film.mp4"))
        assert {line["stream"] for line in tag(spaced.as_uri())} == {"a film.mp4"}
        assert_one_error_line(run(SCRIPT, film.as_uri()), f"there is no file '{film}'")


def test_what_is_no_file():
    needs_build()
    with tempfile.TemporaryDirectory() as folder:
        os.mkfifo(Path(folder) / "pipe")
        is_folder = f"'{folder}' is a folder, expected a file; `tome classify` takes folders"
        for given, words in (
            (folder, [is_folder]),
            (Path(folder).as_uri(), [is_folder]),
            (f"{folder}/pipe", ["pipe' is no regular file"]),
            ("x" * 300, ["there is no file"]),
            ("rtsp://user:secret@camera/live", ["cameras.sh", "rtsp-camera.sh"]),
            ("/dev/video77", ["cameras.sh", "rtsp-camera.sh"]),
        ):
            result = run(SCRIPT, given, timeout=PATIENCE)
            assert_one_error_line(result, *words)
            assert "secret" not in result[2], result


def test_bad_arguments():
    needs_build()
    for arguments, word in (
        (["--model", "/nonexistent", "x.mp4"], "/nonexistent"),
        (["--model", "/", "no-such.mp4"], "no-such.mp4"),
        (["--model", "/", __file__], "config.json"),
        (["--speed"], "--speed"),
        (["--r"], "--r"),
        (["--r", "foo", __file__], "foo"),
        (["--top-k", "0", __file__], "--top-k"),
        (["--interval", "x", __file__], "--interval"),
        (["--threshold", "nan", __file__], "--threshold"),
        (["--threshold", "1e39", __file__], "--threshold: found 1e+39, expected -3.4"),
        (["--top-k", "70000", __file__], "--top-k: found 70000, expected 1 to 65536"),
        (["--precision", "int4", __file__], "int4"),
        (["--device", "tpu", __file__], "tpu"),
        (["--labels-file", "no-such.txt", __file__], "no-such.txt"),
        (["--labels-file", 300 * "a", __file__], "there is no file"),
        (["--model", 300 * "a", __file__], "there is no folder"),
        ([__file__, __file__], f"second file, '{__file__}'"),
        (["a.mp4", "no such.mp4"], "second file, 'no such.mp4'"),
        (["a.mp4", "rtsp://admin:s3cret@h/s"], "second file, '…@h/s'"),
        (["rtsp//admin:s3cret@h/s"], "there is no file '…@h/s'"),
    ):
        result = run(SCRIPT, *arguments)
        assert_one_error_line(result, "tag-video.sh: ", word)
        assert "s3cret" not in result[2], result


if __name__ == "__main__":
    tap.main(globals())
