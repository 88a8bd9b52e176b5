"""Rows of a GPU measurement: ratios between them, and the table."""

import re

# Dense bf16 TFLOP/s of the data sheets, by whole words of the device's name; the first that fits counts.
PEAKS = [("H200 NVL", 835), ("H200", 989), ("H100 PCIe", 756), ("H100 NVL", 835), ("H100", 989), ("GH200", 989),
         ("B200", 2250), ("A100", 312), ("A800", 312), ("L40S", 362), ("L40", 181), ("L4", 121), ("A10G", 70),
         ("A10", 125), ("RTX 5090", 209), ("RTX 4090", 165), ("RTX A6000", 155)]
# A part of a card, and smaller cards of the same name.
OTHERS = ("MIG", "Laptop", "D")


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


def table(rows, facts):
    lines = [f"# {facts['device']}", "",
             f"{facts['precision']}, torch {facts['torch']}, timm {facts['timm']}, driver {facts['driver']}; dense peak taken "
             f"as {facts['peak_tflops'] or 'unknown'} TFLOP/s.",
             f"Random weights; ms are medians of runs that end with the logits on the host: in {facts['rounds']} rounds of "
             f"{facts['repeats']} runs",
             "of each engine in turn, our schedules interleaved. eager and compile (max-autotune) are timm's models with "
             "fused attention,",
             "for clips plain PyTorch's; they begin with pixels, ours with the same pixels as patch rows, both on the device.",
             f"Correctness before it: {facts['tests']}.", "",
             "| model | batch | engine | r | ms | min..max | x own r=0 | x eager | x compile | TFLOP/s | of peak | speed-up over FLOPs saved |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['model']} | {row['batch']} | {row['engine']} | {row['r']} | {row['error']} ||||||||")
            continue
        share = f"{100 * row['share_of_peak']:.0f} %" if "share_of_peak" in row else ""
        lines.append(f"| {row['model']} | {row['batch']} | {row['engine']} | {row['r']} | {row['ms_median']:.3f} "
                     f"| {row['ms_min']:.3f}..{row['ms_max']:.3f} | {cell(row, 'speedup')} | {cell(row, 'x_eager')} "
                     f"| {cell(row, 'x_compile')} | {cell(row, 'tflops_per_s', '{:.0f}')} | {share} "
                     f"| {cell(row, 'speedup_over_flops_saved')} |")
    lines += ["", "Where a forward's time goes (launch by launch, matching in turn; as a graph it is less):", "",
              "| model | batch | r | operation | launches | ms |", "|---|---|---|---|---|---|"]
    for row in rows:
        for operation in row.get("operations", []):
            lines.append(f"| {row['model']} | {row['batch']} | {row['r']} | {operation['name']} | {operation['calls']} "
                         f"| {operation['ms']:.4f} |")
    return "\n".join(lines) + "\n"
