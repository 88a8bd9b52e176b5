"""Where a forward's time goes inside its CUDA graph: kernels, and gaps in which none runs.

`timeline.py MODEL:BATCH:R...` runs `tome bench` under build/bench/libgpu_trace.so (ninja -C build
bench/libgpu_trace.so, where CUPTI's headers are: LibTorch for CUDA brings them) and prints a table for
each, of r=0 and of R. Unlike the times of `tome bench --profile`, which wait for each launch, these are
of replays, with matching beside attention. Being recorded makes gaps longer: by the difference to the
run's time without it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
Kernel = namedtuple("Kernel", "begin end stream blocks threads name")
# By a part of our kernels' bodies' names.
KINDS = {"EmbedBody": "embedding", "PartitionBody": "splitting", "MatchBody": "matching", "RankEdgesBody": "matching",
         "GroupEdgesBody": "matching", "WritePlanBody": "matching", "AttentionBody": "attention",
         "NormStreamBody": "LayerNorm", "MergeStreamBody": "merge and LayerNorm",
         "MergeBody": "merge or LayerNorm, few tokens", "PoolBody": "pooling"}


def fail(text):
    sys.exit(f"timeline.py: {text}")


def kind_of(name):
    """What our kernels do; what is not ours multiplies matrices."""
    known = next((kind for part, kind in KINDS.items() if part in name), None)
    return known or ("others" if "run_body" in name else "products")


def read(lines):
    kernels = []
    for line in lines:
        parts = line.rstrip("\n").split(" ", 5)
        if len(parts) == 6:  # a program that was killed leaves half a line
            kernels.append(Kernel(*(int(part) for part in parts[:5]), parts[5]))
    return sorted(kernels)


def forwards(kernels):
    """Each from its embedding to its head. Behind it, and the longest gap, the next one's patch embedding
    follows."""
    begins = [i for i, kernel in enumerate(kernels) if "EmbedBody" in kernel.name]
    found = []
    for begin, next_begin in zip(begins, [*begins[1:], len(kernels)]):
        pools = [i for i in range(begin, next_begin) if "PoolBody" in kernels[i].name]
        if not pools:
            continue  # cut short
        gaps = [(kernels[i + 1].begin - kernels[i].end, i + 1) for i in range(pools[-1], next_begin - 1)]
        last = next_begin == len(kernels)
        found.append(kernels[begin:next_begin if last or not gaps else max(gaps)[1]])
    return found


def summary(forward):
    """Microseconds: from begin to end, those in which a kernel runs, gaps; and [kind, launches, time]."""
    begin, end = forward[0].begin, max(kernel.end for kernel in forward)
    busy, reached, kinds = 0, begin, {}
    for kernel in forward:
        busy += max(0, kernel.end - max(kernel.begin, reached))
        reached = max(reached, kernel.end)
        entry = kinds.setdefault(kind_of(kernel.name), [0, 0])
        entry[0] += 1
        entry[1] += (kernel.end - kernel.begin) / 1000
    return {"us": (end - begin) / 1000, "busy_us": busy / 1000, "gaps_us": (end - begin - busy) / 1000,
            "kinds": sorted(([kind, *entry] for kind, entry in kinds.items()), key=lambda row: -row[2])}


def by_schedule(found):
    """The last forward of either schedule: merging ones have more launches."""
    sizes = sorted({len(forward) for forward in found[-4:]})
    if len(sizes) != 2:
        fail(f"found forwards of {sizes} kernels, expected two kinds: unmerged and merged")
    return [next(forward for forward in reversed(found) if len(forward) == size) for size in sizes]


def table(cell, pair):
    lines = [f"{cell}", "", "| | r=0 | merged |", "|---|---|---|"]
    sums = [summary(forward) for forward in pair]
    for key, what in [("us", "from begin to end"), ("gaps_us", "no kernel runs")]:
        lines.append(f"| {what} | " + " | ".join(f"{s[key]:.0f} us" for s in sums) + " |")
    kinds = list(dict.fromkeys(row[0] for s in sums for row in s["kinds"]))
    for kind in kinds:
        cells = [next((f"{launches} launches, {us:.0f} us" for name, launches, us in s["kinds"] if name == kind), "")
                 for s in sums]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def trace(tome, library, model, batch, r, precision):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        environment = os.environ | {"TOME_TRACE": str(path), "CUDA_INJECTION64_PATH": str(library)}
        done = subprocess.run([tome, "bench", "--arch", model, "--r", f"0,{r}", "--batch", batch, "--precision",
                               precision, "--repeats", "4", "--warmup", "3", "--device", "cuda"],
                              env=environment, capture_output=True, text=True)
        if done.returncode != 0 or not path.exists():
            said = (done.stderr.strip() or "nothing was recorded").splitlines()
            fail(said[-1])
        return read(path.read_text().splitlines())


def main():
    parser = argparse.ArgumentParser(prog="timeline.py", description=__doc__.splitlines()[0])
    parser.add_argument("cells", nargs="+", metavar="MODEL:BATCH:R")
    parser.add_argument("--tome", type=Path, default=ROOT / "build/tools/tome")
    parser.add_argument("--trace", type=Path, default=ROOT / "build/bench/libgpu_trace.so")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp16"])
    arguments = parser.parse_args()
    for path in (arguments.tome, arguments.trace):
        if not path.exists():
            fail(f"no {path}: ninja -C build tools/tome bench/libgpu_trace.so")
    for cell in arguments.cells:
        if not re.fullmatch(r"\w+:[1-9]\d*:\S+", cell):
            fail(f"found '{cell}', expected MODEL:BATCH:R")
        kernels = trace(arguments.tome, arguments.trace, *cell.split(":", 2), arguments.precision)
        print(table(cell, by_schedule(forwards(kernels))))


if __name__ == "__main__":
    main()
