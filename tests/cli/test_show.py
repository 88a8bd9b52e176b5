"""`tome show`: pictures of which patches became one token."""

import re
import shutil
import struct
import tempfile
from pathlib import Path

import tap
from program import DATA, ROOT, VIT_TINY, assert_one_error_line, needs, tome, tome_ok

SWAN = DATA / "images" / "dali-extra" / "swan-3584559_640.jpg"
SKIING = DATA / "clips" / "scenes" / "skiing.mp4"
CAMERA_STATE = ROOT / "models" / "camera-state"
LINE = 24  # pixels of a caption


def png_size(file):
    """Width and height, from the header."""
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG"), head
    return struct.unpack(">II", head[16:24])


def shown(*arguments):
    """The lines on stdout, as (block, tokens, of, largest), and the size of the picture."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "tokens.png"
        lines = tome_ok("show", "--out", out, *arguments).splitlines()
        found = [re.fullmatch(r"block (\d+): (\d+) of (\d+) tokens, the largest of (\d+) patches", line) for line in lines]
        assert all(found), lines
        return [tuple(map(int, match.groups())) for match in found], png_size(out)


def test_a_picture():
    needs(VIT_TINY, SWAN)
    rows, size = shown("--model", VIT_TINY, "--r", "13", "--after", "1,6,12", SWAN)
    assert [row[:3] for row in rows] == [(1, 184, 197), (6, 119, 197), (12, 41, 197)], rows
    largest = [row[3] for row in rows]
    assert largest == sorted(largest) and 2 <= largest[0] <= 14 and largest[2] <= 156, largest
    assert size == (4 * 448, LINE + 448), size


def test_nothing_merges_without_r():
    needs(VIT_TINY, SWAN)
    rows, size = shown("--model", VIT_TINY, "--r", "0", SWAN)
    assert rows == [(12, 197, 197, 1)], rows
    assert size == (2 * 448, LINE + 448), size


def test_a_clip():
    needs(SKIING)
    rows, size = shown("--model", CAMERA_STATE, "--from", "0.5", "--after", "2,4", SKIING)
    assert [row[0] for row in rows] == [2, 4] and rows[0][2] == 128, rows
    assert 128 > rows[0][1] > rows[1][1], rows
    assert size == (8 * 64, 3 * (LINE + 64)), size


def test_a_still_clip_is_mostly_one_tubelet():
    # In a picture shown for a whole clip every patch is as it was: half of the tokens are first patches.
    needs(SWAN)
    rows, _ = shown("--model", CAMERA_STATE, "--static", "2", "--r", "0", SWAN)
    assert rows == [(4, 64, 128, 2)], rows


def test_an_image_model_on_a_clip():
    needs(VIT_TINY, SKIING)
    rows, size = shown("--model", VIT_TINY, "--clip-length", "4", "--frame-stride", "5", "--r", "40", SKIING)
    assert rows[0][:3] == (12, 4 * 196 + 1 - 12 * 40, 4 * 196 + 1), rows
    assert size == (4 * 224, 2 * (LINE + 224)), size


def test_options_may_stand_around_the_file():
    needs(VIT_TINY, SWAN)
    rows, _ = shown("--model", VIT_TINY, "--after", "3,6", SWAN, "--r", "8")
    assert [row[:2] for row in rows] == [(3, 173), (6, 149)], rows


def test_a_clip_that_ends_early_says_so():
    with tempfile.TemporaryDirectory() as scratch:
        clip, out = Path(scratch) / "clip.mp4", Path(scratch) / "x.png"
        tome_ok("demo-clip", "--motion", "steady", "--frames", "10", "--rate", "30", clip)
        status, said, err = tome("show", "--model", CAMERA_STATE, "--out", out, "--from", "0.19", clip)
        assert status == 0 and said, err
        assert err.endswith("clip.mp4: 4 of the clip's 8 frames are there, the last one is repeated\n"), err


def test_captions_are_whole():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tome_ok("demo-clip", "--frames", "1", "--width", "64", "--height", "64", folder / "frames")
        frame = next((folder / "frames").rglob("*.png"))
        rows, size = shown("--model", ROOT / "tests" / "fixtures" / "hf" / "vit", "--r", "2", frame)
        assert size[0] > 2 * 128, size  # wider than its pictures of 32 pixels, four times enlarged


def test_errors():
    needs(VIT_TINY, SWAN, SKIING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        show = ["show", "--model", VIT_TINY]
        assert_one_error_line(tome(*show, "--out", "tokens.jpg", SWAN), "--out", "tokens.jpg", ".png")
        assert_one_error_line(tome(*show, "--out", "/nonexistent/tokens.png", SWAN), "--out", "/nonexistent")
        (folder / "folder.png").mkdir()
        assert_one_error_line(tome(*show, "--out", folder / "folder.png", SWAN), "--out", "folder.png")
        copy = folder / "copy.png"
        shutil.copy(SWAN, copy)
        assert_one_error_line(tome(*show, "--out", copy, copy), "--out", "copy.png", "drawn")
        assert copy.read_bytes() == SWAN.read_bytes()
        show += ["--out", folder / "x.png"]
        assert_one_error_line(tome(*show, "no.jpg"), "no.jpg", "no such file")
        assert_one_error_line(tome(*show, "--after", "13", SWAN), "--after", "13", "12 blocks")
        for after in ("0", "x", "3,"):
            assert_one_error_line(tome(*show, "--after", after, SWAN), "--after", after)
        assert_one_error_line(tome(*show, "--from", "1000", SKIING), "--from", "skiing.mp4")
        for start in ("nan", "-1"):
            assert_one_error_line(tome(*show, "--from", start, SKIING), "--from", start)
        assert_one_error_line(tome(*show, "--method", "random-prune", SWAN), "--method", "drops tokens")
        assert not (folder / "x.png").exists()


if __name__ == "__main__":
    tap.main(globals())
