"""Options that the commands of `tome` share: the model, its schedule and its size, and who is named in errors."""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import tap
from program import ROOT, assert_one_error_line, demo_clip, ppm, tome, tome_ok

CAMERA_STATE = ROOT / "models" / "camera-state"
# Two blocks over 4 x 6 patches of 8 pixels, without a class token; five classes.
VIT = ROOT / "tests" / "fixtures" / "hf" / "timm_average"


@contextmanager
def commands():
    """Those that read a grey picture, without a model."""
    with tempfile.TemporaryDirectory() as folder:
        picture = ppm(Path(folder) / "0.ppm")
        (Path(folder) / "labels.csv").write_text("file,class_index\n0.ppm,1\n")
        yield {"classify": ["classify", picture], "show": ["show", picture, "--out", Path(folder) / "x.png"],
               "eval": ["eval", "--data", folder]}


def test_errors_of_schedules_name_the_option():
    with commands() as each:
        for command in [*each.values(), ["bench", "--device", "cpu"]]:
            model = [*command, "--model", VIT, "--r"]
            assert_one_error_line(tome(*model, "nonsense"), "tome: --r: r schedule 'nonsense'")
            too_long = "1,1,1" if command[0] in ("classify", "show") else "1,1,1;"
            assert_one_error_line(tome(*model, too_long),
                                  "tome: --r: r schedule '1,1,1': 3 values, but the model has 2 blocks")
    train = ["train", "--generator", "camera-state", "--out", "/nonexistent/out", "--r"]
    assert_one_error_line(tome(*train, "nonsense"), "tome: --r: r schedule 'nonsense'")


def test_errors_of_the_models_own_schedule_name_it():
    with commands() as each:
        # One token, of which nothing can merge.
        alone = [*each["classify"], "--model", CAMERA_STATE, "--clip-length", 4, "--size", 8]
        assert_one_error_line(tome(*alone), "tome: --r: not given", "the model ships with", "r schedule 'keep=")
        assert_one_error_line(tome(*alone, "--r", "keep=0.5"), "tome: --r: r schedule 'keep=0.5'")
        # As a folder, it is its file that is wrong.
        broken = each["show"][1].parent / "broken"
        shutil.copytree(CAMERA_STATE, broken)
        config = json.loads((broken / "config.json").read_text()) | {"tome_r": "nonsense"}
        (broken / "config.json").write_text(json.dumps(config))
        assert_one_error_line(tome(*each["classify"], "--model", broken),
                              f"tome: {broken}/config.json: tome_r: r schedule 'nonsense'")


def test_the_model_that_ships_is_the_default():
    with tempfile.TemporaryDirectory() as folder:
        clip, models = demo_clip(folder, 8), Path(folder) / "models"
        classify, show = ["classify", "--json", clip], ["show", "--out", Path(folder) / "x.png", clip]
        out = tome_ok(*classify)
        assert json.loads(out)["model"] == "camera-state", out
        fixed = lambda line: json.loads(line) | {"time": None}
        assert fixed(out) == fixed(tome_ok(*classify, "--model", CAMERA_STATE))
        assert tome_ok(*show) == tome_ok(*show, "--model", CAMERA_STATE)
        # Where the element looks first.
        shutil.copytree(VIT, models / "camera-state")
        there = os.environ | {"TOMEVIT_MODELS": str(models)}
        lines = [json.loads(line) for line in tome_ok(*classify, env=there).splitlines()]
        assert len(lines) == 8 and lines[0]["model"] == "vit_tiny_patch16_224", lines


def test_sizes():
    with commands() as each:
        model = ["--model", VIT, "--r", "0"]
        classify = [*each["classify"], *model, "--json"]
        for size, patches in (([], 24), (["--size", 0], 24), (["--size", 80], 100)):
            line = json.loads(tome_ok(*classify, *size))
            assert (line["tokens_in"], line["tokens_out"]) == (patches, patches), line
        assert " 100 of 100 tokens" in tome_ok(*each["show"], *model, "--size", 80)
        for command in each.values():
            command = [*command, "--model", VIT, "--size"]
            assert_one_error_line(tome(*command, 81), "tome: --size: ", "81x81", "patches of 8")
            # At most 16384 pixels a side, and 65536 tokens.
            assert_one_error_line(tome(*command, 16385), "tome: --size: input size 16385, expected 1 to 16384")
            assert_one_error_line(tome(*command, 257 * 8), "tome: --size: ", "66049 tokens, expected at most 65536")
            assert_one_error_line(tome(*command, -1), "--size")
        both = [*each["classify"], "--model", CAMERA_STATE, "--clip-length", 8, "--size", 8 * 182]
        assert_one_error_line(tome(*both), "tome: --size, --clip-length: ", "66248 tokens")


if __name__ == "__main__":
    tap.main(globals())
