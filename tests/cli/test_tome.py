"""The `tome` program: results on real data, and one line of error for anything that is wrong."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import tap
from program import DATA, ROOT, TOME, VIT_TINY, assert_one_error_line, demo_clip, needs, ppm, tome, tome_ok
from turned import SEEN, turned_film, turned_picture

DALI = DATA / "images" / "dali-extra"
SCENES = DATA / "clips" / "scenes"


def leading_tags(*arguments):
    """The best tag of each line of `tome classify --json`."""
    out = tome_ok("classify", "--json", *arguments)
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines
    return lines, [line["tags"][0]["label"] for line in lines]


def share(tags, word):
    return sum(word in tag for tag in tags) / len(tags)


def check_video(name, word, *arguments):
    video = SCENES / name
    needs(VIT_TINY, video)
    lines, tags = leading_tags("--model", VIT_TINY, "--interval", "5", *arguments, video)
    assert share(tags, word) > 0.5, tags
    times = [line["pts"] for line in lines]
    assert times == sorted(times) and times[0] < 0.1, times
    return lines


def test_classify_skiing():
    lines = check_video("skiing.mp4", "ski", "--r", "0")
    assert {(line["tokens_in"], line["tokens_out"]) for line in lines} == {(197, 197)}


def test_classify_skiing_merged():
    lines = check_video("skiing.mp4", "ski", "--r", "13")
    assert {(line["tokens_in"], line["tokens_out"]) for line in lines} == {(197, 41)}


def test_classify_bottles():
    check_video("bottles.mp4", "water bottle", "--r", "0")


def test_classify_bottles_merged():
    check_video("bottles.mp4", "water bottle", "--r", "13")


def test_classify_json_keys():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    lines, tags = leading_tags("--model", VIT_TINY, "--top-k", "3", picture)
    assert tags == ["black swan"] or "swan" in tags[0], tags
    line = lines[0]
    expected = ("file time captured pts stream model element region object clip age tags tokens_in "
                "tokens_out").split()
    assert list(line) == expected, list(line)
    assert line["file"] == str(picture) and line["pts"] is None and line["clip"] is None
    assert line["captured"] is None and line["element"] is None
    assert len(line["tags"]) == 3
    scores = [tag["score"] for tag in line["tags"]]
    assert scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1
    assert line["tags"][0]["id"] == 100


def test_classify_image_model_on_clips():
    video = SCENES / "skiing.mp4"
    needs(VIT_TINY, video)
    lines, _ = leading_tags("--model", VIT_TINY, "--clip-length", "4", "--interval", "10", video)
    for line in lines:
        assert line["clip"]["frames"] == 4
        assert line["clip"]["start"] < line["clip"]["end"] == line["pts"]
        assert line["tokens_in"] == 1 + 4 * 196


def test_classify_text_output():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    out = tome_ok("classify", "--model", VIT_TINY, "--top-k", "2", picture, picture)
    assert len(out.splitlines()) == 2 and "swan" in out


CAMERA_STATE = ROOT / "models" / "camera-state"


def clips(*arguments):
    lines, _ = leading_tags("--model", CAMERA_STATE, *arguments)
    return [line["clip"]["frames"] for line in lines]


def test_classify_windows_are_the_elements():
    with tempfile.TemporaryDirectory() as folder:
        assert clips(demo_clip(folder, 12)) == [8, 4], "the last is padded, and says so"
        # Starts at 0, 2, 4: the window at 2 has no frame of its own when the film ends at 8.
        assert clips("--clip-stride", 2, demo_clip(folder, 8)) == [8]


def test_a_window_padded_from_one_frame_is_a_single_frame():
    """As tomepublish says it: it had one frame, whatever the model takes."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shape = ["--frames", 2, "--tubelet", 1, "--size", 16, "--dim", 8, "--depth", 1, "--heads", 1]
        tome_ok("train", "--out", model, "--generator", "camera-state", *shape, "--steps", 0, "--eval-clips", 1)
        lines, _ = leading_tags("--model", model, demo_clip(folder, 3))
        assert len(lines) == 2, lines
        assert lines[0]["clip"]["frames"] == 2, lines[0]
        assert lines[1]["clip"] is None and abs(lines[1]["pts"] - 2 / 30) < 1e-3, lines[1]


def test_films_too_short_for_a_window_are_named():
    with tempfile.TemporaryDirectory() as folder:
        short = demo_clip(folder, 3)
        classify = ["classify", "--model", CAMERA_STATE]
        assert_one_error_line(tome(*classify, short), short, "found 3 frames", "at least 4", "window of 8")
        assert_one_error_line(tome(*classify, "--frame-stride", 3, short), "found 3 frames", "at least 10")
        # One frame is a picture, whatever holds it.
        status, out, err = tome(*classify, demo_clip(folder, 1))
        assert (status, out.count("\n")) == (0, 1) and "1.avi: a picture" in err, (out, err)


def test_a_still_clip_among_moving_ones_is_cheap():
    """And each comes down to the tokens that it has alone, as in the element."""
    with tempfile.TemporaryDirectory() as folder:
        files = [demo_clip(folder, 8), ppm(Path(folder) / "still.ppm"), demo_clip(folder, 16)]
        command = ["classify", "--model", CAMERA_STATE, "--json", "--r", "0", "--static", "0", "--batch"]
        moving, still, *rest = (json.loads(line) for line in tome_ok(*command, 8, *files).splitlines())
        alone = (json.loads(line) for line in tome_ok(*command, 1, *files).splitlines())
        lines = [moving, still, *rest]
        assert [line["tokens_out"] for line in lines] == [line["tokens_out"] for line in alone]
        assert still["tokens_out"] <= moving["tokens_out"] / 2, (still, moving)


def test_ways_to_merge_that_would_be_ignored_are_refused():
    fixtures = ROOT / "tests" / "fixtures" / "hf"
    command = ["classify", "/nonexistent.jpg", "--model"]
    assert_one_error_line(tome(*command, fixtures / "vit", "--method", "k-means", "--similarity", "dot"),
                          "--similarity", "'dot'", "--method k-means")  # fmt: skip
    assert_one_error_line(tome(*command, fixtures / "vit", "--static", "2"), "--static", "--clip-length")


def test_classify_clip_model_at_another_length():
    with tempfile.TemporaryDirectory() as folder:
        video = demo_clip(folder, 12)
        assert clips("--clip-length", 4, video) == [4, 4, 4]
        command = ["classify", "--model", CAMERA_STATE, "--clip-length", 5, video]
        assert_one_error_line(tome(*command), "tome: --clip-length: found 5", "multiple of 4")
        command = ["classify", "--model", CAMERA_STATE, "--clip-length", 4100, video]
        assert_one_error_line(tome(*command), "tome: --clip-length: ", "4100", "expected 1 to 4096")


def test_classify_films_upright():
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        tome_ok("demo-clip", film, "--motion", "pan-left", "--frames", 16)
        for turn, state in SEEN.items():
            turned = Path(folder) / f"{turn}.mp4"
            turned.write_bytes(turned_film(film, turn))
            _, tags = leading_tags("--model", CAMERA_STATE, turned)
            assert tags == [state] * 2, (turn, tags)


def test_classify_pictures_upright():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    with tempfile.TemporaryDirectory() as folder:
        for orientation, direction in ((1, "identity"), (3, "180"), (6, "90r"), (8, "90l")):
            tagged, turned = Path(folder) / "tagged.jpg", Path(folder) / "turned.png"
            tagged.write_bytes(turned_picture(picture, orientation))
            subprocess.run(
                ["gst-launch-1.0", "-q", "filesrc", f"location={picture}", "!", "jpegdec", "!", "videoconvert",
                 "!", "videoflip", f"video-direction={direction}", "!", "videoconvert", "!", "pngenc", "!",
                 "filesink", f"location={turned}"],
                check=True,
            )  # fmt: skip
            lines, _ = leading_tags("--model", VIT_TINY, "--top-k", 3, tagged, turned)
            first, second = (line["tags"] for line in lines)
            assert first[0]["label"] == second[0]["label"], (orientation, first, second)
            # Two decoders of JPEG.
            assert abs(first[0]["score"] - second[0]["score"]) < 0.03, (orientation, first, second)


def test_classify_a_picture_with_a_clip_model():
    picture = DALI / "swan-3584559_640.jpg"
    needs(picture)
    status, out, err = tome("classify", "--model", CAMERA_STATE, picture)
    assert status == 0 and out.count("\n") == 1, (out, err)
    assert err.count("\n") == 1 and str(picture) in err and "8 times" in err, err


def test_scores_that_are_no_numbers():
    """A NaN in a file is refused. A model that overflows has no tags, and no right answers."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shutil.copytree(CAMERA_STATE, model)
        weights = bytearray((model / "model.safetensors").read_bytes())
        size = int.from_bytes(weights[:8], "little")
        header = json.loads(weights[8 : 8 + size])
        assert header["head.weight"]["dtype"] == "BF16"
        begin, end = (8 + size + offset for offset in header["head.weight"]["data_offsets"])
        weights[begin:end] = b"\xff" * (end - begin)
        (model / "model.safetensors").write_bytes(weights)
        refused = tome("classify", "--model", model, demo_clip(folder, 8))
        assert_one_error_line(refused, "model.safetensors", "head.weight", "nan", "finite")
        largest = b"\x7f\x7f"  # sums of its products are infinite, either way
        weights[begin:end] = largest * ((end - begin) // len(largest))
        (model / "model.safetensors").write_bytes(weights)
        out = tome_ok("classify", "--model", model, "--json", demo_clip(folder, 8))
        assert [json.loads(line)["tags"] for line in out.splitlines()] == [[]]
        out = tome_ok(
            "eval", "--model", model, "--generator", "camera-state", "--limit", 2, "--json"
        )
        assert [row["top1"] for row in json.loads(out)] == [0.0]


def test_a_full_disk_is_an_error():
    if not Path("/dev/full").exists():
        raise tap.Skip("no /dev/full here")
    with tempfile.TemporaryDirectory() as folder:
        clip = demo_clip(folder, 8)
        classify = ["classify", "--model", CAMERA_STATE, "--batch", "1"]
        # A file after it is not reached, and would be named.
        for arguments in ([*classify, clip], [*classify, clip, "missing.avi"], [*classify, "--json", clip, "missing.avi"],
                          ["--help"], ["classify", "--help"], ["--version"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([TOME, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
            assert done.returncode == 2, (arguments, done)
            assert done.stderr == b"tome: standard output: cannot be written\n", (arguments, done)


def test_classify_takes_folders():
    names = ["swan-3584559_640.jpg", "barn-227557_1280.jpg"]
    needs(VIT_TINY, *(DALI / name for name in names))
    with tempfile.TemporaryDirectory() as scratch:
        deep = Path(scratch) / "a" / "b"
        deep.mkdir(parents=True)
        shutil.copy(DALI / names[0], deep)
        shutil.copy(DALI / names[1], scratch)
        (Path(scratch) / ".hidden").write_text("no picture")
        (deep / "back").symlink_to(scratch)
        os.mkfifo(deep / "pipe")  # reading it would wait for ever
        lines, _ = leading_tags("--model", VIT_TINY, scratch)
        assert [Path(line["file"]).name for line in lines] == names, lines
        (deep / "notes.txt").write_text("no picture")
        status, out, err = tome("classify", "--model", VIT_TINY, scratch)
        assert status == 2 and out.count("\n") == 2 and "notes.txt" in err, (out, err)


def test_a_film_with_a_colon_in_its_name():
    """What stands before a colon is a protocol to FFmpeg."""
    needs(VIT_TINY, SCENES / "skiing.mp4")
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(SCENES / "skiing.mp4", Path(scratch) / "12:30.mp4")
        out = tome_ok("classify", "--model", VIT_TINY, "--interval", "1000", "12:30.mp4", cwd=scratch)
        assert out.startswith("12:30.mp4  0.000 s"), out


def test_motion_jpeg_is_a_film():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    with tempfile.TemporaryDirectory() as scratch:
        film = Path(scratch) / "raw.mjpeg"
        film.write_bytes(picture.read_bytes() * 3)
        lines, tags = leading_tags("--model", VIT_TINY, film)
        assert len(lines) == 3 and len(set(tags)) == 1, lines


def test_lines_of_json_come_one_by_one():
    needs(VIT_TINY, SCENES / "skiing.mp4")
    command = [TOME, "classify", "--model", VIT_TINY, "--json", "--batch", "1", SCENES / "skiing.mp4"]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE) as process:
        first = process.stdout.read1(1 << 16)
        process.kill()
    assert first.count(b"\n") == 1 and first.endswith(b"\n"), first


def test_help_and_version():
    for arguments in (["--help"], ["classify", "--help"], ["eval", "--help"], ["bench", "--help"], ["show", "--help"]):
        assert "--help" in tome_ok(*arguments)
    assert tome_ok("--version").strip()


def test_bad_arguments():
    assert_one_error_line(tome(), "subcommand")
    assert_one_error_line(tome("dance"), "no command 'dance'", "tome --help")
    assert_one_error_line(tome("classify"), "required", "tome classify --help")
    assert_one_error_line(tome("classify", "--modle", "x", "y.jpg"), "no option '--modle'")
    assert_one_error_line(tome("classify", "--model", "x", "--frobnicate", "y"), "'--frobnicate'")
    evaluate = ["eval", "--model", "nowhere", "--data", "nowhere"]
    assert_one_error_line(tome(*evaluate, "--pictures", "x"), "--pictures", "--generator")
    for plot in ("/nonexistent/plot.png", "plot.jpg"):
        assert_one_error_line(tome(*evaluate, "--plot", plot), "--plot", plot)
    assert_one_error_line(tome("classify", "--model", "nowhere", "--top-k", "0", "x.jpg"), "top-k")


def test_clips_have_limits():
    needs(VIT_TINY)
    command = ["--model", VIT_TINY, "--clip-length"]
    for length in ("335", "1000000"):  # 196 tokens each, of 65536
        assert_one_error_line(tome("classify", *command, length, "x.mp4"), "--clip-length", "334")


def test_missing_model():
    assert_one_error_line(tome("classify", "--model", "/nonexistent", "x.jpg"), "/nonexistent")


def test_bad_files():
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        classify = ["classify", "--model", VIT_TINY]
        assert_one_error_line(tome(*classify, folder / "no.jpg"), "no.jpg", "no such file")
        assert_one_error_line(tome(*classify, folder), folder, "folder")
        noise = folder / "noise.mp4"
        noise.write_bytes(bytes(range(256)) * 40)
        assert_one_error_line(tome(*classify, noise), "noise.mp4")
        empty = folder / "empty.png"
        empty.write_bytes(b"")
        assert_one_error_line(tome(*classify, empty), "empty.png")
        text = folder / "notes.txt"
        text.write_text("What was to be remembered.\n" * 40)
        assert_one_error_line(tome(*classify, text), "notes.txt", "neither a picture nor a video")
        cut = folder / "cut.png"
        cut.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff")
        assert_one_error_line(tome(*classify, cut), "cut.png")


def test_a_picture_that_ends_early():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    with tempfile.TemporaryDirectory() as scratch:
        cut = Path(scratch) / "cut.jpg"
        whole = picture.read_bytes()
        for size in (len(whole) - 100, len(whole) // 2):
            cut.write_bytes(whole[:size])
            assert_one_error_line(tome("classify", "--model", VIT_TINY, cut), "cut.jpg", "truncated JPEG")


def test_a_bad_file_does_not_end_the_others():
    picture = DALI / "swan-3584559_640.jpg"
    needs(VIT_TINY, picture)
    with tempfile.TemporaryDirectory() as scratch:
        broken = Path(scratch) / "broken.jpg"
        broken.write_bytes(picture.read_bytes()[:100])
        files = [picture, "no.jpg", picture, broken, picture]
        status, out, err = tome("classify", "--model", VIT_TINY, "--json", *files)
    assert status == 2, err
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(picture)] * 3, out
    first, second = err.splitlines()
    assert first == "tome: no.jpg: no such file", err
    assert second.startswith("tome: ") and "broken.jpg" in second and "expected a whole picture" in second, err


def test_names_reach_no_terminal_as_commands():
    """They stay readable, and one line each; --json escapes as JSON does."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "a\x1b]0;owned\x07.jpg").write_bytes(b"\xff\xd8\xff\xe0")  # broken
        ppm(folder / "c\x1b[31m\r\nd\u009b\udcff.ppm")  # Python's way to write the byte 0xff
        ppm(folder / "größe 日本.ppm")
        command = [TOME, "classify", "--model", CAMERA_STATE, scratch]
        done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2, done
    out, err = done.stdout.decode().split("\n"), done.stderr.decode().split("\n")
    assert all(line.isprintable() for line in out + err), (out, err)
    shown = [f"{scratch}/c\\x1b[31m\\r\\nd\\xc2\\x9b\\xff.ppm  ", f"{scratch}/größe 日本.ppm  "]
    assert len(out) == 3 and all(map(str.startswith, out, shown)), out
    assert len(err) == 4 and all(line.startswith("tome: ") for line in err[:-1]), err
    assert any("a\\x1b]0;owned\\x07.jpg: " in line for line in err), err


if __name__ == "__main__":
    tap.main(globals())
