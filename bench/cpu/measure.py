"""Forward passes of ours and of every peer, in turns: JSON Lines, a table and a plot.

Each engine is a process of its own; a round runs each a few times, one after the other, so that a
machine that slows down slows all of them. Called by bench/cpu.sh.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNRECORDED = HERE.parent.parent / "build" / "bench-results"  # which git ignores
TOKENS = {"vit_large_patch16_384": 577, "video_vit_base": 1568, "video_vit_large": 1568}

MODELS = ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224",
          "vit_large_patch16_384", "video_vit_base", "video_vit_large"]


class PeerFailed(Exception):
    """The last line that an engine's process said."""


class Peer:
    """A peer's process, idle but when asked."""

    def __init__(self, engine, command, r=0, environment=None):
        self.engine, self.r, self.times = engine, str(r), []
        # A file, since nobody reads what an engine says until it has ended.
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.said, text=True,
                                        env=os.environ | (environment or {}))

    def ready(self):
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        self.process.wait()
        self.said.seek(0)
        lines = self.said.read().strip().splitlines()
        raise PeerFailed(lines[-1] if lines else "ended")

    def run(self, repeats):
        self.process.stdin.write(f"{repeats}\n")
        self.process.stdin.flush()
        self.times += json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_ours(tome, cell, specs, repeats, runs, eight_bits):
    """One process of `tome bench` for each precision, which times its schedules in turns itself. A
    schedule's ms of a run are the process's median."""
    for engine, precision in [("gst-tome", cell["precision"])] + [("gst-tome-int8", "int8")] * eight_bits:
        command = [tome, "bench", "--arch", cell["model"], "--r", ",".join(specs), "--batch",
                   str(cell["batch"]), "--threads", str(cell["threads"]), "--precision", precision,
                   "--repeats", str(repeats), "--device", "cpu", "--json"]
        rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for row in rows:
            runs.setdefault((engine, row["r"]), []).append(row)


def has_eight_bits(tome):
    command = [tome, "bench", "--arch", "vit_tiny_patch16_224", "--r", "0", "--precision", "int8", "--repeats", "1",
               "--device", "cpu", "--json"]
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode != 0:
        print(f"cpu.sh: gst-tome-int8 is left out: {tried.stderr.strip()}", file=sys.stderr)
    return tried.returncode == 0


def row_of(cell, engine, r, times, extra=None):
    known = {key: cell[key] for key in ("batch", "threads", "precision") if key in cell}
    return {"engine": engine, "model": cell["model"], "tokens": TOKENS.get(cell["model"], 197)} | known | {
        "r": r, "ms_median": round(statistics.median(times), 3), "ms_min": round(min(times), 3),
        "ms_max": round(max(times), 3)} | (extra or {})


def measure(cell, tome, rounds, repeats, engines, beside_bytes, eight_bits):
    """Rows of one model, batch, number of threads and precision.
    beside_bytes: the precision of all but products where these are in 8 bits
    eight_bits: whether ours has them"""
    video = cell["model"].startswith("video")
    specs = ["0", "65"] if video else ["0", "8", "13", "16"]
    peers = []
    for engine, r in [("torch", 0), ("timm", 0), ("torch-tome", specs[-1]), ("torch-tome", "13"),
                      ("openvino", 0), ("openvino-int8", 0), ("onnxruntime", 0)]:
        if (engine == "timm" or r == "13") and video:
            continue
        if engines and engine not in engines:
            continue
        if engine == "openvino-int8" and not engines:
            if video:  # calibrating on 1568 tokens takes more than ten minutes
                continue
            if importlib.util.find_spec("nncf") is None:
                print("cpu.sh: openvino-int8 is left out: no module nncf", file=sys.stderr)
                continue
        if engine == "onnxruntime" and cell["precision"] == "bf16":
            continue
        if engine == "openvino-int8" and cell["precision"] != beside_bytes:
            continue
        peer = Peer(engine, [sys.executable, str(HERE / "peer.py"), engine, cell["model"],
                             str(cell["batch"]), str(cell["threads"]), cell["precision"], str(r)], r,
                    {"OMP_NUM_THREADS": str(cell["threads"])})
        try:
            peer.ready()  # one at a time: two at once would not fit small machines
        except PeerFailed as error:
            raise SystemExit(f"cpu.sh: {engine}: {error}")
        peers.append(peer)
    ours = {}
    for _ in range(rounds):
        for peer in peers:
            peer.run(repeats)
        run_ours(tome, cell, specs, repeats, ours, eight_bits and cell["precision"] == beside_bytes)
    for peer in peers:
        peer.close()
    rows = [row_of(cell, peer.engine, peer.r, peer.times) for peer in peers]
    for (engine, spec), runs in sorted(ours.items(), key=lambda item: item[0][0]):
        row = row_of(cell, engine, spec, [run["ms_median"] for run in runs],
                     {"flops_saved": round(runs[0]["flops_saved"], 4)})
        row["ms_min"] = round(min(run["ms_min"] for run in runs), 3)
        row["ms_max"] = round(max(run["ms_max"] for run in runs), 3)
        rows.append(row)
    return rows


def add_ratios(rows, plain_ms):
    """speedup: over plain PyTorch in fp32 of the same run, which took `plain_ms` (None: it was not there); and over
    OpenVINO of the same precision. With more digits than are shown, so that what is shown is rounded once."""
    unmerged = {row["engine"]: row["ms_median"] for row in rows if row["r"] == "0"}
    for row in rows:
        if plain_ms is not None:
            row["speedup"] = round(plain_ms / row["ms_median"], 5)
        if "openvino" in unmerged:
            row["speedup_openvino"] = round(unmerged["openvino"] / row["ms_median"], 5)
        if "flops_saved" in row:
            ratio = unmerged[row["engine"]] / row["ms_median"]
            row["speedup_over_flops_saved"] = round(ratio / row["flops_saved"], 3)


def processor():
    facts = Path("/proc/cpuinfo").read_text()
    name = next((line.split(":")[1].strip() for line in facts.splitlines() if "model name" in line), "?")
    flags = next((line.split() for line in facts.splitlines() if line.startswith("flags")), [])
    has = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni") if flag in flags]
    return f"{name}, {os.cpu_count()} cores, {' '.join(has)}", "avx512_bf16" in flags or "amx_bf16" in flags


def cells(arguments, native_bf16):
    precisions = ["fp32", "bf16"] if native_bf16 else ["fp32"]
    if arguments.precision:
        precisions = arguments.precision.split(",")
    if arguments.quick:
        models, batches, threads = ["vit_tiny_patch16_224", "vit_base_patch16_224", "video_vit_base"], [1], [2]
    else:
        models, batches, threads = MODELS, [1, 8], [1, 2]
    models = arguments.models.split(",") if arguments.models else models
    batches = [int(b) for b in arguments.batch.split(",")] if arguments.batch else batches
    threads = [int(t) for t in arguments.threads.split(",")] if arguments.threads else threads
    for model in models:
        for batch in batches:
            for thread in threads:
                yield [{"model": model, "batch": batch, "threads": thread, "precision": precision}
                       for precision in precisions]


def merge_rows(path, rows):
    """Rows of earlier runs, less the cells that were measured again, and ours."""
    again = {cell_of(row) for row in rows}
    earlier = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    kept = [row for row in earlier if cell_of(row) not in again]
    return sorted(kept + rows, key=lambda row: (row["processor"], MODELS.index(row["model"]), row["batch"],
                                                row["threads"], row["precision"] != "fp32"))


def cell_of(row):
    """What engines are compared in."""
    return tuple(row[key] for key in ("processor", "model", "batch", "threads", "precision"))


def write_table(rows, path):
    # Of the times, which rows of any age have with enough digits.
    openvino_ms = {cell_of(row): row["ms_median"] for row in rows if row["engine"] == "openvino"}
    lines = []
    for machine, group in groupby(rows, key=lambda row: row["processor"]):
        lines += [f"# {machine}", "",
                  "Forward passes, random weights; ms are medians of interleaved runs. x torch: times plain",
                  "PyTorch in fp32, where that was in the run; x OpenVINO: times OpenVINO unmerged in the same",
                  "precision.", "",
                  "| model | batch | threads | precision | engine | r | ms | min..max | x torch | x OpenVINO "
                  "| speed-up over FLOPs saved |", "|---|---|---|---|---|---|---|---|---|---|---|"]
        for row in group:
            share = row.get("speedup_over_flops_saved", "")
            plain = f"{row['speedup']:.2f}" if "speedup" in row else "–"
            over = openvino_ms.get(cell_of(row), float("nan")) / row["ms_median"]
            lines.append(f"| {row['model']} | {row['batch']} | {row['threads']} | {row['precision']} | {row['engine']} "
                         f"| {row['r']} | {row['ms_median']:.1f} | {row['ms_min']:.1f}..{row['ms_max']:.1f} "
                         f"| {plain} | {over:.2f} | {share} |")
        lines.append("")
    path.write_text("\n".join(lines))


def plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    groups = {}
    for row in rows:
        groups.setdefault(cell_of(row), []).append(row)
    figure, axes = plt.subplots(len(groups), 1, figsize=(8, 2.2 * len(groups) + 0.6), squeeze=False)
    machines = {row["processor"]: None for row in rows}
    for axis, ((machine, *key), group) in zip(axes[:, 0], groups.items()):
        names = [row["engine"] + (f" r={row['r']}" if row["r"] != "0" else "") for row in group]
        colours = ["tab:orange" if row["engine"].startswith("gst-tome") else "tab:grey" for row in group]
        reference = next((row["ms_median"] for row in group if row["engine"] == "openvino"), group[0]["ms_median"])
        axis.barh(names, [reference / row["ms_median"] for row in group], color=colours)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.invert_yaxis()
        axis.tick_params(labelsize=7)
        title = "{}, batch {}, {} threads, {}".format(*key)
        axis.set_title(title if len(machines) == 1 else f"{title}: {machine}", fontsize=8)
    axes[-1, 0].set_xlabel("times OpenVINO unmerged")
    height = figure.get_size_inches()[1]
    figure.suptitle("; ".join(machines), fontsize=8, y=1 - 0.1 / height)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / height))
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(prog="bench/cpu.sh")
    parser.add_argument("--tome", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="ViT-Ti, ViT-B, video ViT-B at batch 1")
    parser.add_argument("--models", help="by commas")
    parser.add_argument("--batch", help="by commas")
    parser.add_argument("--threads", help="by commas")
    parser.add_argument("--precision", help="by commas; fp32 first, without which there are no ratios to plain PyTorch")
    parser.add_argument("--engines", type=lambda text: text.split(","),
                        help="peers, by commas: torch (always), timm, torch-tome, openvino, "
                             "openvino-int8 (products in 8 bits, the rest in bf16, or in fp32 where the "
                             "processor has no bf16), onnxruntime; ours are always there, in 8 bits "
                             "too, beside the same")
    parser.add_argument("--append", action="store_true",
                        help="keep earlier rows of --out, but for the cells (model, batch, threads, "
                             "precision) measured again, which lose all their rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each engine in a round")
    parser.add_argument("--out", type=Path, default=UNRECORDED / "cpu",
                        help="without ending: .jsonl, .md and .png are written; default: build/bench-results/cpu")
    arguments = parser.parse_args()
    if arguments.engines:
        arguments.engines.append("torch")
    machine, native_bf16 = processor()
    if not native_bf16:
        print("cpu.sh: no bf16 arithmetic here: fp32 only", file=sys.stderr)
    beside_bytes = "bf16" if native_bf16 else "fp32"
    eight_bits = has_eight_bits(arguments.tome)
    if arguments.precision and beside_bytes not in arguments.precision.split(","):
        print(f"cpu.sh: 8 bits are left out: they stand beside {beside_bytes}", file=sys.stderr)
    rows = []
    for group in cells(arguments, native_bf16):
        plain_ms = None
        for cell in group:
            done = measure(cell, arguments.tome, arguments.rounds, arguments.repeats, arguments.engines,
                           beside_bytes, eight_bits)
            if cell["precision"] == "fp32":
                plain_ms = next(row["ms_median"] for row in done if row["engine"] == "torch")
            add_ratios(done, plain_ms)
            for row in done:
                row["processor"] = machine
                print(json.dumps(row), flush=True)
            rows += done
    if arguments.append:
        rows = merge_rows(arguments.out.with_suffix(".jsonl"), rows)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_table(rows, arguments.out.with_suffix(".md"))
    plot(rows, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
