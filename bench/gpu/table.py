"""Rows of a GPU measurement: ratios between them, and the table."""

import json
import re

# Dense bf16 TFLOP/s of the data sheets, by whole words of the device's name; the first that fits counts.
PEAKS = [("H200 NVL", 835), ("H200", 989), ("H100 PCIe", 756), ("H100 NVL", 835), ("H100", 989), ("GH200", 989),
         ("B200", 2250), ("A100", 312), ("A800", 312), ("L40S", 362), ("L40", 181), ("L4", 121), ("A10G", 70),
         ("A10", 125), ("RTX 5090", 209), ("RTX 4090", 165), ("RTX A6000", 155)]
# A part of a card, and smaller cards of the same name.
OTHERS = ("MIG", "Laptop", "D")
FACTS = ("precision", "torch", "timm", "driver", "peak_tflops", "tests", "rounds", "repeats")


def peak_of(device):
    def has(words):
        return re.search(rf"\b{words}\b", device)

    if any(has(word) for word in OTHERS):
        return None
    return next((peak for words, peak in PEAKS if has(words)), None)


def add_ratios(rows, peak):
    """To the rows of one model, batch and precision: over our own unmerged run, over timm eager and
    compiled, the share of the device's peak, and speed-up over FLOPs saved."""
    def ms(engine, r="0"):
        found = [row for row in rows if row["engine"] == engine and row["r"] == r and "ms_median" in row]
        return found[0]["ms_median"] if found else None

    for row in rows:
        if "ms_median" not in row:
            continue
        for key, base in [("speedup", ms("gst-tome")), ("x_eager", ms("eager")), ("x_compile", ms("compile"))]:
            if base:
                row[key] = round(base / row["ms_median"], 3)
        if "gflops" in row:
            row["tflops_per_s"] = round(row["gflops"] * row["batch"] / row["ms_median"], 2)
            if peak:
                row["share_of_peak"] = round(row["tflops_per_s"] / peak, 4)
        if row["engine"] == "gst-tome" and "speedup" in row:
            row["speedup_over_flops_saved"] = round(row["speedup"] / row["flops_saved"], 3)


def cell(row, key, form="{:.2f}"):
    return form.format(row[key]) if key in row else ""


def line_of(row):
    begin = f"| {row['model']} | {row['batch']} | {row['engine']} | {row['r']} |"
    note = f" (unfinished: {row['unfinished']})" if "unfinished" in row else ""
    if "error" in row:
        return f"{begin} {row['error']}{note} ||||||||"
    share = f"{100 * row['share_of_peak']:.0f} %" if "share_of_peak" in row else ""
    return (f"{begin} {row['ms_median']:.3f}{note} "
            f"| {row['ms_min']:.3f}..{row['ms_max']:.3f} | {cell(row, 'speedup')} | {cell(row, 'x_eager')} "
            f"| {cell(row, 'x_compile')} | {cell(row, 'tflops_per_s', '{:.0f}')} | {share} "
            f"| {cell(row, 'speedup_over_flops_saved')} |")


def facts_of(row):
    """What the rows of one run have in common. Rows of before may not have all of it."""
    return {key: row.get(key) or "unknown" for key in FACTS} | {"version": row.get("version")}


def run_table(rows, facts):
    """Of the rows of one run."""
    lines = [f"{facts['precision']}, torch {facts['torch']}, timm {facts['timm']}, driver {facts['driver']}; dense peak taken "
             f"as {facts['peak_tflops']} TFLOP/s.",
             f"Random weights; ms are medians of runs that end with the logits on the host: in {facts['rounds']} rounds of "
             f"{facts['repeats']} runs",
             "of each engine in turn, our schedules interleaved. eager and compile (max-autotune) are timm's models with "
             "fused attention,",
             "for clips plain PyTorch's; they begin with pixels, ours with the same pixels as patch rows, both on the device."]
    if facts["version"]:
        lines.append(f"Version: {facts['version']}.")
    lines += [f"Correctness before it: {facts['tests']}.", "",
              "| model | batch | engine | r | ms | min..max | x own r=0 | x eager | x compile | TFLOP/s | of peak | speed-up over FLOPs saved |",
              "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    lines += [line_of(row) for row in rows]
    lines += ["", "Where a forward's time goes (launch by launch, matching in turn; as a graph it is less):", "",
              "| model | batch | r | operation | launches | ms |", "|---|---|---|---|---|---|"]
    for row in rows:
        for operation in row.get("operations", []):
            lines.append(f"| {row['model']} | {row['batch']} | {row['r']} | {operation['name']} | {operation['calls']} "
                         f"| {operation['ms']:.4f} |")
    return lines


def table(rows):
    """A part for each run, since runs differ in what they ran on and how often."""
    lines = []
    for device in dict.fromkeys(row["device"] for row in rows):
        lines += [f"# {device}", ""]
        runs = {}
        for row in rows:
            if row["device"] == device:
                runs.setdefault(json.dumps(facts_of(row)), []).append(row)
        for run in runs.values():
            lines += [*run_table(run, facts_of(run[0])), ""]
    return "\n".join(lines)
