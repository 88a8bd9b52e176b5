"""bench/cpu.sh: its help, and its table from made-up rows. No number here is a measurement."""

import json
import sys
import tempfile
from pathlib import Path

import tap
from program import ROOT, run

sys.path.insert(0, str(ROOT / "bench" / "cpu"))
from measure import UNRECORDED, add_ratios, merge_rows, write_table  # noqa: E402


def test_help_needs_nothing():
    with tempfile.TemporaryDirectory() as folder:
        nowhere = ["env", f"BUILD={folder}/build", f"PEERS={folder}/peers", ROOT / "bench" / "cpu.sh"]
        for arguments, word in (
            (["--help"], "--append"),
            (["--quick", "-h"], "--append"),
            (["--end-to-end", "--help"], "--film"),
        ):
            status, out, err = run(*nowhere, *arguments, timeout=60)
            assert status == 0 and err == "" and word in out, (status, out, err)
        assert list(Path(folder).iterdir()) == []


def test_results_go_where_git_does_not_look():
    if not (ROOT / ".git").exists():
        raise tap.Skip("no git checkout")
    assert run("git", "-C", ROOT, "check-ignore", UNRECORDED / "cpu.jsonl")[0] == 0


def row_of(engine, ms, processor="one", model="vit_tiny_patch16_224"):
    return {"engine": engine, "model": model, "batch": 1, "threads": 2, "precision": "bf16", "r": "0",
            "ms_median": ms, "ms_min": ms, "ms_max": ms, "processor": processor}  # fmt: skip


def cell_rows(ours, **of_row):
    rows = [row_of("torch", 20.0, **of_row), row_of("openvino", 10.25, **of_row), row_of("gst-tome", ours, **of_row)]
    add_ratios(rows, 20.0)
    return rows


def table_of(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.md"
        write_table(rows, path)
        return path.read_text()


def test_ratios_are_rounded_once():
    # 3.54548: by way of 3.545 it would become 3.54 where halves go to the even digit.
    rows = cell_rows(2.891)
    assert "| 3.55 |  |" in table_of(rows), table_of(rows)
    # Rows of before have three digits of it.
    rows[2]["speedup_openvino"] = 3.545
    assert "| 3.55 |  |" in table_of(rows), table_of(rows)


def test_without_fp32_nothing_is_said_to_be_over_it():
    rows = [row_of("torch", 20.0), row_of("gst-tome", 5.0)]
    add_ratios(rows, 30.0)
    assert [row["speedup"] for row in rows] == [1.5, 6.0]
    rows = [row_of("torch", 20.0), row_of("gst-tome", 5.0)]
    add_ratios(rows, None)
    assert all("speedup" not in row for row in rows)
    assert "| 5.0 | 5.0..5.0 | – | " in table_of(rows), table_of(rows)


def test_append_keeps_other_cells_and_processors():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        earlier = cell_rows(3.0, processor="two") + cell_rows(4.0) + cell_rows(5.0, model="vit_base_patch16_224")
        path.write_text("".join(json.dumps(row) + "\n" for row in earlier))
        rows = merge_rows(path, cell_rows(6.0))
    ours = [(row["processor"], row["ms_median"]) for row in rows if row["engine"] == "gst-tome"]
    assert ours == [("one", 6.0), ("one", 5.0), ("two", 3.0)], ours
    table = table_of(rows)
    assert table.count("# one\n") == 1 and table.count("# two\n") == 1, table


if __name__ == "__main__":
    tap.main(globals())
