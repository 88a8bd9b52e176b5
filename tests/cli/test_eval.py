"""`tome eval`: accuracy and cost over labelled folders."""

import csv
import json
import shutil
import tempfile
from pathlib import Path

import tap
from program import DATA, ROOT, TOME, VIT_TINY, assert_one_error_line, needs, needs_eight_bits, ppm, run, tome, tome_ok

IMAGES = DATA / "images" / "imagenet-sample"
DALI = DATA / "images" / "dali-extra"
SCENES = DATA / "clips" / "scenes"


def check_eval_rows(rows, samples):
    assert [row["r"] for row in rows] == ["0", "13", "16:-1"]
    assert all(row["images"] == samples and row["precision"] == "fp32" for row in rows)
    assert rows[0]["agreement"] == 100
    # 2 x MACs of ViT-Ti/16: 12 blocks, patch embedding and head.
    tokens, dim = 197, 192
    block = tokens * dim * dim * 12 + 2 * tokens * tokens * dim
    assert abs(rows[0]["gflops"] - 2e-9 * (12 * block + 196 * dim * 768 + dim * 1000)) < 1e-9
    assert rows[0]["tokens_last"] == 197
    assert rows[1]["tokens_last"] == 41 and rows[1]["r_per_block"] == [13] * 12
    assert rows[2]["tokens_last"] == 10 and sum(rows[2]["r_per_block"]) == 187
    assert rows[0]["gflops"] > rows[1]["gflops"] > rows[2]["gflops"] > 0


# Of README's table over the 500 pictures: top-1 and the share of equal tags.
ACCURACY = {
    "vit_tiny_patch16_224": {"0": (81.4, 100), "13": (79.0, 90.6), "16:-1": (55.8, 58.4)},
    "deit_tiny_patch16_224": {"0": (79.2, 100), "13": (76.8, 90.2)},
}


def test_accuracy_is_the_readmes():
    for name, expected in ACCURACY.items():
        model = DATA / "models" / name
        needs(model, IMAGES)
        arguments = ["--model", model, "--data", IMAGES, "--r", ";".join(expected), "--json"]
        rows = json.loads(tome_ok("eval", *arguments, timeout=1000))
        assert len(rows) == len(expected)
        for row in rows:
            top1, agreement = expected[row["r"]]
            # Another processor rounds otherwise, and three pictures may then change sides.
            assert row["images"] == 500 and abs(row["top1"] - top1) <= 0.6, (name, row, top1)
            assert abs(row["agreement"] - agreement) <= 1, (name, row, agreement)


def test_eight_bits_keep_the_accuracy():
    needs_eight_bits()
    for name, expected in ACCURACY.items():
        model = DATA / "models" / name
        needs(model, IMAGES)
        rows = json.loads(tome_ok("eval", "--model", model, "--data", IMAGES, "--r", "0,13", "--precision", "int8",
                                  "--device", "cpu", "--json", timeout=1000))
        assert [row["precision"] for row in rows] == ["int8", "int8"]
        for row in rows:
            # Of the pictures, some four in a hundred change their tag, to and fro.
            assert abs(row["top1"] - expected[row["r"]][0]) <= 1.4, (name, row)


def test_eight_bits_know_the_usual_merging_alone():
    needs_eight_bits()
    needs(VIT_TINY, DALI)
    arguments = ["--model", VIT_TINY, "--data", DALI, "--precision", "int8", "--device", "cpu", "--metric", "values"]
    assert_one_error_line(tome("eval", *arguments), "int8")


def test_eval_json_and_plot():
    needs(VIT_TINY, DALI)
    with tempfile.TemporaryDirectory() as scratch:
        plot = Path(scratch) / "plot.png"
        arguments = ["--model", VIT_TINY, "--data", DALI, "--r", "0,13,16:-1"]
        rows = json.loads(tome_ok("eval", *arguments, "--json", "--plot", plot))
        assert plot.read_bytes().startswith(b"\x89PNG")
    with open(DALI / "labels.csv", newline="") as labels:
        samples = len(list(csv.DictReader(labels)))
    check_eval_rows(rows, samples)
    assert rows[0]["top1"] > 50 and rows[0]["top5"] > rows[0]["top1"], rows[0]
    assert rows[1]["agreement"] > 80, rows[1]


def test_eval_at_another_size():
    needs(VIT_TINY, IMAGES)
    command = ["eval", "--model", VIT_TINY, "--data", IMAGES, "--limit", "50", "--r", "0,13"]
    own = json.loads(tome_ok(*command, "--json"))
    larger = json.loads(tome_ok(*command, "--json", "--size", "288"))
    dim = 192
    for rows, side in ((own, 224), (larger, 288)):
        patches = (side // 16) ** 2
        tokens = patches + 1
        block = tokens * dim * dim * 12 + 2 * tokens * tokens * dim
        assert abs(rows[0]["gflops"] - 2e-9 * (12 * block + patches * dim * 768 + dim * 1000)) < 1e-9, rows
        assert [row["tokens_in"] for row in rows] == [tokens, tokens], rows
        assert [row["tokens_last"] for row in rows] == [tokens, tokens - 12 * 13], rows
        assert all(row["images"] == 50 and row["top1"] > 60 for row in rows), rows
    assert [row["size"] for row in larger] == [288, 288] and not any("size" in row for row in own)
    assert ", 288 pixels" in tome_ok(*command, "--size", "288").splitlines()[0]
    # What the model has anyway changes nothing.
    same = json.loads(tome_ok(*command, "--json", "--size", "224"))
    assert [row["top1"] for row in same] == [row["top1"] for row in own]
    assert_one_error_line(tome(*command, "--size", "290"), "tome: --size: ", "290x290", "patches of 16")


def test_eval_lists_of_schedules():
    needs(VIT_TINY, DALI)
    common = ["eval", "--model", VIT_TINY, "--data", DALI, "--limit", "2", "--json"]
    rows = json.loads(tome_ok(*common, "--r", "0;16,8,4"))
    assert [row["r"] for row in rows] == ["0", "16,8,4"]
    assert rows[1]["tokens_last"] == 197 - 28
    rows = json.loads(tome_ok(*common, "--r", "8,8", "--r", "keep=0.5"))
    assert [row["r"] for row in rows] == ["8,8", "keep=0.5"]
    assert rows[0]["tokens_last"] == 197 - 16


def test_eval_split_and_labels_by_name():
    needs(VIT_TINY, DALI)
    with open(DALI / "labels.csv", newline="") as labels:
        first, second = list(csv.DictReader(labels))[:2]
    names = (VIT_TINY / "labels.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = ["file,label,split"]
        for row, split in ((first, "train"), (second, "val")):
            shutil.copy(DALI / row["file"], folder)
            label = names[int(row["class_index"])].replace('"', '""')
            rows.append(f'{row["file"]},"{label}",{split}')
        (folder / "labels.csv").write_text("\r\n".join(rows) + "\r\n")
        common = ["eval", "--model", VIT_TINY, "--data", folder, "--json"]
        for arguments, split, images in (([], "val", 1), (["--split", "train"], "train", 1), (["--split", ""], "", 2)):
            row = json.loads(tome_ok(*common, *arguments))[0]
            assert (row["split"], row["images"]) == (split, images), row
        assert_one_error_line(tome(*common, "--split", "test"), "labels.csv", "split 'test'")


def test_eval_pictures_beside_videos():
    """Whatever stands first, a video has its windows and a picture one."""
    swan, skiing = "swan-3584559_640.jpg", "skiing.mp4"
    needs(VIT_TINY, DALI / swan, SCENES / skiing)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(DALI / swan, folder)
        shutil.copy(SCENES / skiing, folder)
        scores = []
        for files in ([swan, skiing], [skiing, swan]):
            rows = "".join(f"{file},{'100' if file == swan else '795'}\n" for file in files)
            (folder / "labels.csv").write_text("file,class_index\n" + rows)
            command = ["eval", "--model", VIT_TINY, "--data", folder, "--windows", "2", "--json"]
            row = json.loads(tome_ok(*command))[0]
            scores.append((row["images"], row["top1"], row["top5"]))
        assert scores[0] == scores[1] and scores[0][0] == 2, scores


FIXTURE = ROOT / "tests" / "fixtures" / "hf" / "timm_average"  # five classes
CAMERA_STATE = ROOT / "models" / "camera-state"


def test_what_cannot_be_read_is_named_and_left_out():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number in range(3):
            ppm(folder / f"{number}.ppm", 60 * number)
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(96))
        (folder / "noise.jpg").write_bytes(bytes(range(256)) * 40)
        command = ["eval", "--model", FIXTURE, "--data", folder, "--batch", 2]
        names = ["broken.jpg", "0.ppm", "none.jpg", "1.ppm", "noise.jpg", "2.ppm"]
        labels = folder / "labels.csv"
        labels.write_text("file,class_index\n\n" + "".join(f"{name},1\n" for name in names))
        status, out, err = tome(*command, "--json")
        row = json.loads(out)[0]
        assert (status, row["unreadable"], row["images"], row["windows"]) == (2, 3, 3, 1), (row, err)
        lines = err.splitlines()
        assert len(lines) == 3, err
        for line, (name, number) in zip(lines, (("broken.jpg", 3), ("none.jpg", 5), ("noise.jpg", 7))):
            assert name in line and f"labels.csv line {number}" in line, err
        assert "3 unreadable" in tome(*command)[1]
        labels.write_text("file,class_index\n" + "".join(f"{name},1\n" for name in names[1::2]))
        alone = json.loads(tome_ok(*command, "--json"))[0]
        assert all(row[key] == alone[key] for key in ("top1", "top5", "gflops", "images")), (row, alone)
        labels.write_text("file,class_index\nnone.jpg,1\n")
        assert_one_error_line(tome(*command), "none.jpg", "no such file")


def test_rows_say_what_was_measured():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = ["file,class_index"]
        for number in range(4):
            ppm(folder / f"{number}.ppm", 60 * number)
            rows.append(f"{number}.ppm,{number}")
        (folder / "labels.csv").write_text("\n".join(rows))
        command = ["eval", "--model", FIXTURE, "--data", folder, "--threads", 1, "--batch", 3, "--r", "0,model"]
        command += ["--method", "greedy", "--device", "cpu"]
        predictions = folder / "predictions.jsonl"
        found = json.loads(tome_ok(*command, "--json", "--predictions", predictions))
        expected = {"r": "0", "data": str(folder), "split": "", "device": "cpu", "threads": 1, "batch": 3, "frames": 1,
                    "windows": 1, "frame_stride": 1, "method": "greedy", "metric": "keys", "similarity": "cosine",
                    "partition": "auto", "combine": "weighted-mean", "prop_attn": "auto", "static": None,
                    "unreadable": 0, "images": 4}
        for row in found:
            assert {key: row[key] for key in expected} == expected, row
            share = row["top1"] / 100
            assert abs(row["top1_standard_error"] - 100 * (share * (1 - share) / 4) ** 0.5) < 1e-9, row
        table = tome_ok(*command)
        assert "\nmerging: method greedy\n" in table and "+-" in table, table
        lines = [json.loads(line) for line in predictions.read_text().splitlines()]
        assert [line["truth"]["id"] for line in lines] == [0, 1, 2, 3]
        assert [Path(line["file"]).name for line in lines] == [f"{number}.ppm" for number in range(4)]
        right = 0
        for line in lines:
            assert [run["r"] for run in line["runs"]] == ["0", "0"], line
            scores = [tag["score"] for tag in line["runs"][0]["tags"]]
            assert len(scores) == 5 and scores == sorted(scores, reverse=True)
            right += line["runs"][0]["tags"][0]["id"] == line["truth"]["id"]
        assert found[0]["top1"] == 100 * right / 4
        nowhere = folder / "no" / "predictions.jsonl"
        assert_one_error_line(tome(*command, "--predictions", nowhere), "--predictions", nowhere)


def test_cost_of_static_patches_is_that_of_each_clip():
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ppm(folder / "still.ppm")
        tome_ok("demo-clip", folder / "moving.avi", "--motion", "pan-left", "--frames", 8)
        command = ["eval", "--model", CAMERA_STATE, "--data", folder, "--windows", 1, "--r", "0,keep=0.5", "--json"]

        def rows(names, *more):
            (folder / "labels.csv").write_text("file,class_index\n" + "".join(f"{name},0\n" for name in names))
            return json.loads(tome_ok(*command, *more))

        both = rows(["still.ppm", "moving.avi"], "--static", 0)
        still, moving = (rows([name], "--static", 0) for name in ("still.ppm", "moving.avi"))
        off = rows(["moving.avi"])
        for all_of_it, one, other, unmerged in zip(both, still, moving, off):
            for key in ("gflops", "tokens_last"):
                assert abs(all_of_it[key] - (one[key] + other[key]) / 2) < 1e-9, (key, all_of_it, one, other)
                assert one[key] < 0.7 * other[key], (key, one, other)
                assert abs(other[key] - unmerged[key]) < 1e-9, (key, other, unmerged)
            assert sum(all_of_it["r_per_block"]) * 2 == sum(one["r_per_block"]) + sum(other["r_per_block"])


def test_no_schedule_is_an_error():
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "0").mkdir()
        ppm(Path(scratch) / "0" / "a.ppm")
        command = ["eval", "--model", FIXTURE, "--data", scratch]
        for text in (";", ";;"):
            assert_one_error_line(tome(*command, "--r", text), f"--r: found '{text}', expected at least one schedule")


def test_files_take_no_standard_descriptor():
    """Started without stderr, what decoders would write there, and what becomes of it, is nobody's file."""
    with tempfile.TemporaryDirectory() as scratch:
        data, written = Path(scratch) / "data", Path(scratch) / "predictions.jsonl"
        (data / "0").mkdir(parents=True)
        for name in ("a.ppm", "b.ppm"):
            ppm(data / "0" / name)
        for name in ("c.ppm", "d.ppm"):
            (data / "0" / name).write_text("no picture")
        command = [TOME, "eval", "--model", FIXTURE, "--data", data, "--batch", "1", "--predictions", written]
        status, _, _ = run("sh", "-c", 'exec "$@" 2>&-', "sh", *command)
        lines = written.read_text().splitlines()
        assert status == 2 and [json.loads(line)["sample"] for line in lines] == [0, 1], (status, lines)
        for name in ("c.ppm", "d.ppm"):
            (data / "0" / name).unlink()
        status, _, err = run("sh", "-c", 'exec "$@" >&-', "sh", *command)
        assert status == 2 and "standard output: cannot be written" in err, err


def test_samples_trained_on_are_measured_only_if_asked():
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch)
        for split in ("training", "testing"):
            for name in "01":
                (data / split / name).mkdir(parents=True)
                ppm(data / split / name / "a.ppm")
        command = ["eval", "--model", FIXTURE, "--data", data]
        assert_one_error_line(tome(*command), data, "'testing', 'training'", "--split", "valid")
        for split, images in (("testing", 2), ("", 4)):
            row = json.loads(tome_ok(*command, "--split", split, "--json"))[0]
            assert (row["split"], row["images"]) == (split, images), row


def test_bad_labels():
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        labels = folder / "labels.csv"
        command = ["eval", "--model", VIT_TINY, "--data", folder]
        assert_one_error_line(tome(*command), "labels.csv")
        for text, word in (
            ("picture,class_index\na.jpg,1\n", "file"),
            ("file,class_index\na.jpg,1000\n", "line 2"),
            ("file,class_index\na.jpg,-1\n", "line 2"),
            ("file,class_index\na.jpg\n", "line 2"),
            ("file,label\na.jpg,no such thing\n", "no such thing"),
            ("file,class_index\n", "no sample"),
            ("file,class_index\na.jpg,1\n", "a.jpg"),
        ):
            labels.write_text(text)
            assert_one_error_line(tome(*command), word)


if __name__ == "__main__":
    tap.main(globals())
