"""`tome train` as its user runs it: killed and gone on, what it writes, and what it refuses."""

import json
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import tap
from program import ROOT, TOME, assert_one_error_line, tome, tome_ok
from train_data import IMAGE, TINY, write_folder, write_pictures, write_rows


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


def test_a_signal_saves_what_there_is():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_pictures(data, ["a", "b"])
        command = [TOME, "train", "--data", data, "--out", out, *IMAGE, "--eval-split", "", "--steps"]
        command = [str(part) for part in command]
        # SIGTERM, since tests that run in the background are deaf to SIGINT.
        with subprocess.Popen([*command, "1000000"], stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            try:
                said = process.communicate(timeout=60)[1]
            finally:
                process.kill()
        assert process.returncode == -signal.SIGTERM, said
        stopped = int(re.fullmatch(r"tome: stopped after step (\d+) of 1000000; .* goes on .*\n", said)[1])
        assert stopped < 1000000 and not (out / "model.safetensors").exists()
        done = tome_ok(*command[1:], str(stopped + 20))
        assert f"{stopped + 20} steps" in done, done
        steps = [json.loads(line)["step"] for line in (out / "log.jsonl").open()]
        assert steps == sorted(set(steps)) and steps[-1] == stopped + 20, steps


def test_a_video_that_ends_in_the_middle_is_trained_on():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        write_folder(data)
        video = data / "pan-left.avi"
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
        tome_ok(*train(data, data / "out", "--steps", "2"))


def test_a_model_keeps_its_head_for_its_own_labels():
    """labels.csv is read in alphabetical order; the model has an order of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        data, first, again = (Path(scratch) / name for name in ("data", "first", "again"))
        labels = ["wave", "jump", "run"]
        rows = [f"{row},train" for row in write_pictures(data, labels)]
        write_rows(data, rows, "file,label,split")
        plain = ["--data", data, "--eval-split", "", "--steps", "0"]
        tome_ok("train", *plain, "--out", first, *IMAGE)
        config = json.loads((first / "config.json").read_text())
        assert config["label_names"] == sorted(labels)
        config["label_names"] = labels
        (first / "config.json").write_text(json.dumps(config))
        command = ["train", *plain, "--out", again, "--init", first]
        status, _, err = tome(*command)
        assert (status, err) == (0, ""), err
        assert json.loads((again / "config.json").read_text())["label_names"] == labels
        weights = "model.safetensors"
        assert (first / weights).read_bytes() == (again / weights).read_bytes()
        write_rows(data, [rows[0].replace("wave", "sit"), *rows[1:]], "file,label,split")
        status, _, err = tome(*command, "--seed", "2")
        assert status == 0 and "a new head for 3 classes" in err, err
        assert (first / weights).read_bytes() != (again / weights).read_bytes()


def test_a_folder_without_splits_is_all_for_training():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_pictures(data, ["a", "b"])
        plain = ["train", "--data", data, "--out", out, *IMAGE, "--steps", "2"]
        printed = tome_ok(*plain)
        assert "2 steps" in printed and "top-1" not in printed, printed
        for option in ("--split", "--eval-split"):
            assert_one_error_line(tome(*plain, option, "mine"), "no column 'split'", "'mine'")


def test_class_folders_train_and_evaluate():
    """[split/]class/file, as ImageNet's tools lay pictures out; no labels.csv."""
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        for split, count in (("train", 6), ("val", 2)):
            for grey, label in ((40, "dark"), (220, "light")):
                (data / split / label).mkdir(parents=True)
                for i in range(count):
                    picture = b"P6 24 24 255\n" + bytes([grey + i] * 3) * 576
                    (data / split / label / f"{i}.ppm").write_bytes(picture)
        schedule = ["--steps", "60", "--lr", "1e-3", "--ema", "0.9"]
        printed = tome_ok("train", "--data", data, "--out", out, *IMAGE, *schedule)
        assert "r=0: top-1 1.0000" in printed, printed
        assert json.loads((out / "config.json").read_text())["label_names"] == ["dark", "light"]
        command = ["eval", "--model", out, "--json", "--data"]
        for folder, split, images in ((data, ["--split", "val"], 4), (data / "train", [], 12)):
            row = json.loads(tome_ok(*command, folder, *split))[0]
            assert (row["images"], row["top1"]) == (images, 100), row
        (data / "val/light").rename(data / "val/bright")
        assert_one_error_line(tome(*command, data / "val"), "val/bright", "'bright'")


def test_image_models_of_all_kinds_become_clip_models():
    """CLIP's have no bias where the patches are embedded, distilled ones have two heads."""
    own = [f"deit_distilled {i}" for i in range(4)]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        for model, labels in (("timm_pre_norm", ["a", "b"]), ("deit_distilled", own)):
            write_pictures(data, labels)
            out = Path(scratch) / model
            init = ["--init", ROOT / "tests" / "fixtures" / "hf" / model, "--frames", "2"]
            more = ["--split", "", "--eval-split", "", "--steps", "2", "--batch", "4"]
            tome_ok("train", "--data", data, "--out", out, *init, *more)
            config = json.loads((out / "config.json").read_text())
            assert config["num_frames"] == 2, config
            assert config["distilled_head"] == (labels == own), config
            tags = json.loads(tome_ok("classify", "--model", out, "--json", data / "0.ppm"))["tags"]
            assert {tag["label"] for tag in tags} == set(labels), tags


def test_options_have_ranges():
    """Each of these divided by zero, hung, trained what could not be read back, or was ignored."""
    plain = ["train", "--generator", "camera-state", "--out", "/nonexistent/out"]
    wrong = {"--patch": "0", "--batch": "0", "--save-every": "0", "--loader-threads": "0", "--depth": "0"}
    wrong |= {"--lr": "nan", "--drop-path": "2", "--ema": "2", "--frames": "-1", "--size": "-32"}
    for option, value in wrong.items():
        assert_one_error_line(tome(*plain, f"{option}={value}", timeout=20), option)
    for shape in (["--frames", "1"], ["--size", "2", "--patch", "2", "--dim", "24"]):
        assert_one_error_line(tome(*plain, *shape), "--generator", "square clips")
    assert_one_error_line(tome(*plain, "--device", "foo"), "--device", "'foo'", "cuda:N")
    assert_one_error_line(tome(*plain, "--size", "4096", "--patch", "8"), "tokens")
    assert_one_error_line(tome(*plain, "--name=\udcfc"), "--name", "UTF-8")


def test_what_is_refused():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        data.mkdir()
        out = Path(scratch) / "out"
        assert_one_error_line(tome("train", "--out", out), "--data", "--generator")
        assert_one_error_line(tome(*train(data, out)), "labels.csv")
        (data / "labels.csv").write_text("file,label,split\n")
        assert_one_error_line(tome(*train(data, out)), "labels.csv", "label")
        (data / "labels.csv").write_text("file,label,split\nnone.avi,a,train\nnone.avi,b,train\nnone.avi,b,val\n")
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
        assert_one_error_line(tome(*plain, "--r", "fast"), "--r: ", "fast")
        model = Path(scratch) / "model"
        tome_ok("train", "--data", data, "--out", model, *IMAGE, "--steps", "0")
        same = ["train", "--data", data, "--init", model, "--out", f"{model}/../model"]
        assert_one_error_line(tome(*same), "--out", "--init")
        (data / "labels.csv").write_text("file,label\nx.avi,only\n")
        assert_one_error_line(tome(*train(data, out)), "one class", "'only'")


def test_what_may_be_meant_otherwise_is_said():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        write_pictures(data, ["turn left", "up"])
        command = ["train", "--data", data, *IMAGE, "--out"]
        status, _, err = tome(*command, Path(scratch) / "a", "--steps", "2")
        warm_up, split, mirrored = err.splitlines()
        assert status == 0 and "--warmup 100" in warm_up and "held out" in split, err
        assert "'turn left'" in mirrored and "--no-flip" in mirrored, err
        (data / "labels.csv").write_text("file,label,split\n0.ppm,a,train\n1.ppm,b,train\n1.ppm,c,val\n")
        status, _, err = tome(*command, Path(scratch) / "c", "--steps", "3", "--warmup", "1", "--no-flip")
        assert status == 0 and err.count("\n") == 1 and "no sample of 'c' to train on" in err, err
        write_pictures(data, ["turn left", "up"])
        clear = ["--steps", "3", "--warmup", "1", "--eval-split", "", "--no-flip"]
        assert tome(*command, Path(scratch) / "b", *clear)[::2] == (0, "")


def test_options_that_would_be_ignored_are_refused():
    with tempfile.TemporaryDirectory() as scratch:
        data, out, model, clips = (Path(scratch) / name for name in ("data", "out", "model", "clips"))
        write_pictures(data, ["a", "b"])
        plain = ["train", "--out", out]
        folder = [*plain, "--data", data]
        camera = [*plain, "--generator", "camera-state"]
        shape = {"--patch": 8, "--dim": 24, "--depth": 2, "--heads": 2, "--mlp-ratio": 2}
        for option, value in shape.items():
            assert_one_error_line(tome(*folder, "--init", model, option, value), option, "--init")
        assert_one_error_line(tome(*folder, "--init", model, "--class-token"), "--class-token", "--init")
        of_generator = {"--pictures": data, "--clips": data, "--ramp": 9, "--eval-clips": 60, "--motion-loss": 1}
        for option, value in of_generator.items():
            assert_one_error_line(tome(*folder, option, value), option, "--data")
        of_folder = {"--epochs": 2, "--split": "a", "--eval-split": "", "--frame-stride": 2}
        of_folder |= {"--jitter": 0.1, "--cache-gb": 1}
        for option, value in of_folder.items():
            assert_one_error_line(tome(*camera, option, value), option, "--generator")
        assert_one_error_line(tome(*camera, "--no-flip"), "--no-flip", "--generator")
        assert_one_error_line(tome(*folder, "--epochs", 1, "--steps", 1), "--epochs", "--steps")
        # A tubelet is the new clip model's where an image model is inflated, and only there.
        no_steps = ["--data", data, "--steps", "0"]
        tome_ok("train", *no_steps, "--out", model, *IMAGE)
        inflate = ["train", *no_steps, "--out", clips, "--init", model]
        assert_one_error_line(tome(*inflate, "--tubelet", 1), "--tubelet", "--frames")
        tome_ok(*inflate, "--frames", 4, "--tubelet", 4)
        assert json.loads((clips / "config.json").read_text())["tubelet_size"] == 4
        again = ["train", *no_steps, "--out", out, "--init", clips, "--tubelet", 4]
        for frames in ([], ["--frames", 8]):
            assert_one_error_line(tome(*again, *frames), "--tubelet", clips)
        assert not out.exists()


def test_other_data_or_weights_do_not_go_on():
    with tempfile.TemporaryDirectory() as scratch:
        data, first, other, out = (Path(scratch) / name for name in ("data", "init", "other/init", "out"))
        rows = write_pictures(data, ["a", "b", "a", "b"])
        plain = ["train", "--data", data, "--steps", "2"]
        for model, seed in ((first, 1), (other, 2)):
            tome_ok(*plain, "--out", model, *IMAGE, "--seed", seed)
        command = [*plain, "--out", out, "--batch", "2", "--init"]
        tome_ok(*command, first)
        tome_ok(*command, first, "--cache-gb", "0")
        assert_one_error_line(tome(*command, other), "state.safetensors", "init-hash")
        write_rows(data, [*rows[:2], *(row.replace("a", "b") for row in rows[2:])])
        assert_one_error_line(tome(*command, first), "state.safetensors", "data-hash")


def test_settings_of_the_model_do_not_go_on_otherwise():
    with tempfile.TemporaryDirectory() as scratch:
        data, first, out = (Path(scratch) / name for name in ("data", "init", "out"))
        write_pictures(data, ["a", "b"])
        plain = ["train", "--data", data, "--steps", "1", "--eval-split", ""]
        tome_ok(*plain, "--out", first, *IMAGE)
        assert_one_error_line(tome(*plain, "--out", first, *IMAGE, "--class-token"),
                              "state.safetensors", "class-token: found 'no', this run has 'yes'")
        command = [*plain, "--out", out, "--init", first]
        tome_ok(*command)
        config = first / "config.json"
        text = config.read_text()
        changed = json.loads(text)
        changed["preprocess"]["mean"] = [0.4, 0.4, 0.4]
        config.write_text(json.dumps(changed))
        assert_one_error_line(tome(*command), "state.safetensors", "init-config-hash")
        config.write_text(text)
        tome_ok(*command)


def test_a_state_past_the_steps_is_said():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_pictures(data, ["a", "b"])
        plain = ["train", "--data", data, "--out", out, *IMAGE, "--eval-split", "", "--warmup", "0"]
        tome_ok(*plain, "--steps", "4")
        status, printed, err = tome(*plain, "--steps", "2")
        assert status == 0 and "4 steps" in printed, printed
        assert err.count("\n") == 1 and "4 steps before, more than 2" in err and str(out) in err, err


def test_a_training_that_diverges_says_so():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_pictures(data, ["a", "b"])
        wild = ["--lr", "1000", "--weight-decay", "1000", "--warmup", "0", "--batch", "2", "--eval-split", ""]
        plain = ["train", "--data", data, "--out", out, *IMAGE, *wild]
        status, _, err = tome(*plain, "--steps", "40")
        assert status == 0 and err.count("\n") == 1, err
        assert "of 40 steps were skipped" in err and "--lr" in err, err
        last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
        assert 0 < last["skipped_steps"] < 40, last
        assert_one_error_line(tome(*plain, "--steps", "400"), "diverged", "--lr 1000")


def test_the_log_is_drawn():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_rows(data, [f"{row},{split}" for row in write_pictures(data, ["a", "b"]) for split in ("train", "val")],
                   "file,label,split")
        plain = ["train", "--data", data, "--out", out, *IMAGE, "--warmup", "2", "--no-flip", "--eval-every", "10"]
        picture = out / "log.png"
        tome_ok(*plain, "--steps", "0")
        assert not picture.exists(), "nothing to draw"
        tome_ok(*plain, "--steps", "20")
        first = picture.read_bytes()
        assert first.startswith(b"\x89PNG\r\n\x1a\n") and first.endswith(b"IEND\xaeB`\x82"), first[:8]
        tome_ok(*plain, "--steps", "40")
        second = picture.read_bytes()
        assert second.startswith(b"\x89PNG") and second != first
        # A picture that cannot be written is no reason to end the training; once is enough to say it.
        picture.unlink()
        picture.mkdir()
        status, printed, err = tome(*plain, "--steps", "80")
        assert status == 0 and "80 steps" in printed, (printed, err)
        assert err.count("\n") == 1 and str(picture) in err and "could not be written" in err, err
        assert json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] == 80


def test_a_run_that_is_stopped_has_drawn_its_evaluations():
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "out"
        write_rows(data, [f"{row},{split}" for row in write_pictures(data, ["a", "b"]) for split in ("train", "val")],
                   "file,label,split")
        command = [TOME, "train", "--data", data, "--out", out, *IMAGE, "--eval-every", "20", "--steps", "1000000"]
        with subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while not (out / "log.png").exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL and (out / "log.png").exists()


def test_a_clip_that_cannot_be_written_is_one_line():
    """OpenCV has several writers, each of which would complain by itself."""
    for ending in ("avi", "mp4"):
        file = f"/nonexistent/x.{ending}"
        assert_one_error_line(tome("demo-clip", file, "--frames", "2"), file, "cannot be written")


if __name__ == "__main__":
    tap.main(globals())
