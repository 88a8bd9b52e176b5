"""A 1080p H.264 file from end to end: gst-launch with tomeclassify beside Python scripts, in turns.

Prints a table, and writes JSON Lines: frames_per_s of the decoder alone, of the core alone, and of the
pipeline; its ratio to what both allow together, 1 / (1 / decoder + 1 / core); peak memory of each
process. Called by bench/cpu.sh --end-to-end.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import UNRECORDED, processor

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1920, 1080
WARM_UP = 90  # frames: models are opened, caches fill


def run(command, environment=None):
    """(lines of stdout with the time each came, peak memory in MB) of a command."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   env=os.environ | (environment or {}))
        lines = [(time.perf_counter(), line) for line in process.stdout]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status != 0:
            errors.seek(0)
            raise SystemExit(f"end_to_end.py: {command[0]} failed: {errors.read().strip()[-400:]}")
    return lines, usage.ru_maxrss / 1024


def launch(pipeline, environment):
    """Frames per second of a pipeline after its first frames, by what its sink counts; memory."""
    sink = "fpsdisplaysink video-sink=fakesink text-overlay=false sync=false fps-update-interval=100"
    lines, memory = run(["gst-launch-1.0", "-v", *pipeline, "!", *sink.split()], environment)
    counts = [(at, int(found[1])) for at, line in lines
              if (found := re.search(r"rendered: (\d+), dropped: 0", line))]
    counts = [one for one in counts if one[1] >= WARM_UP]
    if len(counts) < 2:
        raise SystemExit("end_to_end.py: the film is too short for this machine: --frames")
    (begin, first), (end, last) = counts[0], counts[-1]
    return (last - first) / (end - begin), memory


class Contest:
    def __init__(self, options, folder):
        self.options = options
        self.film = options.film or folder / "film.mp4"
        self.model = options.model
        if self.model is None:
            self.model = folder / "model"
            self.helper("random_model.py", options.architecture, self.model)
        if options.film is None:
            self.helper("film.py", self.film, WIDTH, HEIGHT, options.frames)
        self.environment = {"GST_PLUGIN_PATH": f"{options.build}/gst-plugin"}

    @staticmethod
    def helper(program, *arguments):
        # A process of its own: what this one has used would count as its children's peak memory.
        command = [sys.executable, str(HERE / program), *(str(argument) for argument in arguments)]
        if subprocess.run(command, check=False).returncode != 0:
            raise SystemExit(f"end_to_end.py: {program} failed")

    def decoder(self):
        return launch(["filesrc", f"location={self.film}", "!", "decodebin"], self.environment)

    def core(self):
        lines, memory = run([f"{self.options.build}/bench/streams", "--core-only", "--streams", "1",
                             "--source", f"I420:{WIDTH}x{HEIGHT}", "--seconds", "4", "--model", str(self.model),
                             "--precision", self.options.precision, "--r", self.options.r,
                             "--batch-size", str(self.options.batch)])
        return json.loads(lines[-1][1])["core_frames_per_s"], memory

    def tomeclassify(self):
        return launch(["filesrc", f"location={self.film}", "!", "decodebin", "!", "tomeclassify",
                       f"model={self.model}", f"precision={self.options.precision}",
                       f"tome-r={self.options.r}", f"batch-size={self.options.batch}"], self.environment)

    def script(self, engine):
        lines, memory = run([sys.executable, str(HERE / "tag_clip.py"), engine, str(self.film),
                             self.options.architecture, self.options.precision,
                             str(self.options.batch), str(WARM_UP)])
        return json.loads(lines[-1][1])["frames_per_s"], memory

    def runs(self):
        return {"decoder alone": self.decoder, "core alone": self.core, "gst-tome": self.tomeclassify,
                "OpenCV + timm": lambda: self.script("timm"),
                "OpenCV + OpenVINO": lambda: self.script("openvino")}


def rows_of(results, options, machine):
    median = {name: statistics.median(rate for rate, _ in runs) for name, runs in results.items()}
    together = 1 / (1 / median["decoder alone"] + 1 / median["core alone"])
    for name, runs in results.items():
        rates = [rate for rate, _ in runs]
        row = {"engine": name, "model": options.architecture, "batch": options.batch,
               "precision": None if name == "decoder alone" else options.precision,
               "r": options.r if name in ("gst-tome", "core alone") else "0",
               "frames_per_s": round(median[name], 1), "min": round(min(rates), 1),
               "max": round(max(rates), 1), "peak_memory_mb": round(max(memory for _, memory in runs))}
        if name == "gst-tome":
            # Runs of one round compare best: the machine's speed comes and goes.
            ratios = [rate * (1 / decoder + 1 / core) for (rate, _), (decoder, _), (core, _) in
                      zip(runs, results["decoder alone"], results["core alone"])]
            row |= {"allowed_frames_per_s": round(together, 1), "ratio": round(statistics.median(ratios), 3)}
        yield row | {"processor": machine}


def main():
    parser = argparse.ArgumentParser(prog="bench/cpu.sh --end-to-end")
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--architecture", default="vit_tiny_patch16_224", help="timm's name; random weights")
    parser.add_argument("--model", type=Path, help="model folder of that architecture for tomeclassify")
    parser.add_argument("--precision", choices=["fp32", "bf16"],
                        help="of all engines; default: bf16 where the processor multiplies it")
    parser.add_argument("--r", default="13")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--film", type=Path, help="a 1080p file; default: one is made")
    parser.add_argument("--frames", type=int, default=600, help="of the film that is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=UNRECORDED / "end_to_end.jsonl",
                        help="JSON Lines; default: build/bench-results/end_to_end.jsonl")
    options = parser.parse_args()
    machine, native_bf16 = processor()
    options.precision = options.precision or ("bf16" if native_bf16 else "fp32")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(options, Path(folder))
        for _ in range(options.rounds):
            for name, measure in contest.runs().items():
                results.setdefault(name, []).append(measure())
    rows = list(rows_of(results, options, machine))
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{'':20}{'frames/s':>10}{'peak MB':>10}")
    for row in rows:
        print(f"{row['engine']:20}{row['frames_per_s']:>10}{row['peak_memory_mb']:>10}"
              + (f"   {row['ratio']} of what decoder and core allow" if "ratio" in row else ""))


if __name__ == "__main__":
    main()
