"""`tome bench`: what its rows say, and one line of error for anything that is wrong."""

import json

import tap
from program import ROOT, assert_one_error_line, needs_eight_bits, tome, tome_ok

CAMERA_STATE = ROOT / "models" / "camera-state"


def test_bench_in_eight_bits():
    needs_eight_bits()
    rows = json.loads(tome_ok("bench", "--arch", "vit_tiny_patch16_224", "--precision", "fp32,int8", "--r", "0,13",
                              "--device", "cpu", "--repeats", "2", "--json"))  # fmt: skip
    assert [row["precision"] for row in rows] == 2 * ["fp32"] + 2 * ["int8"]
    assert_one_error_line(tome("bench", "--arch", "vit_tiny_patch16_224", "--precision", "int8", "--compare-torch"),
                          "--compare-torch", "int8")  # fmt: skip


def test_bench_compares_with_torch():
    out = tome_ok("bench", "--arch", "vit_tiny_patch16_224", "--r", "13", "--batch", "1,2",
                  "--repeats", "3", "--warmup", "1", "--compare-torch", "--json")  # fmt: skip
    rows = json.loads(out)
    found = [(row["engine"], row["batch"], row["r"]) for row in rows]
    assert found == [(e, b, r) for b in (1, 2) for e, r in (("tome", "0"), ("tome", "13"), ("torch", "0"))]
    for row in rows:
        assert 0 < row["ms_min"] <= row["ms_median"] <= row["ms_max"], row
        assert abs(row["images_per_s"] - 1000 * row["batch"] / row["ms_median"]) < 1e-6
    assert rows[0]["speedup"] == 1 and rows[1]["tokens_last"] == 41
    assert rows[1]["flops_saved"] > 1.5
    # The PyTorch model is written independently of core/vit, on the same weights.
    assert rows[2]["max_logit_difference"] < 1e-4, rows[2]


def test_bench_rows_say_how_tokens_merged():
    usual = {"method": "bipartite", "metric": "keys", "similarity": "cosine", "partition": "auto",
             "combine": "weighted-mean", "prop_attn": "auto", "static": None, "seed": 0}
    command = ["bench", "--model", CAMERA_STATE, "--repeats", 1, "--warmup", 0, "--device", "cpu", "--r"]
    rows = json.loads(tome_ok(*command, "model", "--json"))
    assert [row["r"] for row in rows] == ["0", json.loads((CAMERA_STATE / "config.json").read_text())["tome_r"]]
    for row in rows:
        assert {key: row[key] for key in usual} == usual and row["frames"] == 8, row
    assert "merging" not in tome_ok(*command, "0")
    assert "\nmerging: method k-means, combine max\n" in tome_ok(
        *command, "0", "--method", "k-means", "--combine", "max")
    assert_one_error_line(tome(*command, "0", "--static", "2"), "--static", "noise")


def test_bench_clip_model():
    out = tome_ok("bench", "--arch", "video_vit_base", "--r", "124", "--repeats", "1",
                  "--warmup", "0", "--compare-torch", "--json", timeout=600)  # fmt: skip
    rows = json.loads(out)
    assert rows[0]["tokens"] == 1568 and rows[1]["tokens_last"] == 1568 - sum(rows[1]["r_per_block"])
    assert 2.0 < rows[1]["flops_saved"] < 2.2, rows[1]
    assert rows[2]["max_logit_difference"] < 1e-3, rows[2]


def test_bad_arguments():
    assert_one_error_line(tome("bench"), "--model", "--arch")
    assert_one_error_line(tome("bench", "--arch", "resnet50"), "resnet50", "vit_base_patch16_224")
    tiny = ["bench", "--arch", "vit_tiny_patch16_224"]
    assert_one_error_line(tome(*tiny, "--batch", "1,x"), "--batch", "1,x")
    assert_one_error_line(tome(*tiny, "--precision", "int3"), "--precision", "int3")
    assert_one_error_line(tome(*tiny, "--r", "fast"), "--r: ", "fast")
    assert_one_error_line(tome(*tiny, "--r", "keep=0.01"), "--r: ", "keep=0.01")
    assert_one_error_line(tome(*tiny, "--device", "tpu"), "--device", "tpu")
    clip = ["bench", "--model", CAMERA_STATE, "--clip-length", 5]
    assert_one_error_line(tome(*clip), "tome: --clip-length: found 5", "multiple of 4")


if __name__ == "__main__":
    tap.main(globals())
