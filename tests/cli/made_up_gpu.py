"""Whole runs of bench/gpu.sh with made-up engines on a made-up device, for test_gpu_bench.py."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from program import ROOT


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def made_up_modules(folder, torch_cuda="'13.0'"):
    folder.mkdir(exist_ok=True)
    (folder / "timm.py").write_text("__version__ = '0'\n")
    (folder / "torch.py").write_text(
        "from types import SimpleNamespace as Made\n__version__ = '0'\n"
        f"version = Made(cuda={torch_cuda})\n"
        "cuda = Made(is_available=lambda: True, get_device_name=lambda index: 'Made-Up 1')\n")


def made_up_data(folder):
    """What --data has to hold, as far as bench/gpu.sh itself looks."""
    (folder / "models/vit_tiny_patch16_224").mkdir(parents=True)
    (folder / "parity").mkdir()
    for ending in ("json", "safetensors"):
        (folder / f"parity/matching.{ending}").touch()
    return folder


# $WHEN says what an engine does in place of its n-th answer, from 0: "eager 1 stops", "compile 0 ends",
# "eager ready stops" (it is never ready).
ENGINE = f"""#!{sys.executable}
import json, os, sys, time
def when(what):
    does = os.environ.get("WHEN", "").rpartition(" ")
    if does[0] == what and does[2] == "stops":
        time.sleep(60)
    elif does[0] == what:
        sys.exit("out of memory")
"""
PEER = ENGINE + """
open(os.environ["MADE"] + "/pids", "a").write(f"{os.getpid()}\\n")
when(sys.argv[1] + " ready")
print("ready", flush=True)
when(sys.argv[1] + " idle")
for n, line in enumerate(sys.stdin):
    when(f"{sys.argv[1]} {n}")
    print(json.dumps([9.0, 4.0 + n, 1.0][:int(line)]), flush=True)
"""
OURS = ENGINE + """
when("ours 0")
specs = sys.argv[sys.argv.index("--r") + 1].split(",")
print(json.dumps([{"r": r, "ms_median": 2.0, "ms_min": 1.5, "ms_max": 3.0, "gflops": 35.0, "flops_saved": 1.0}
                  for r in specs]))
"""
DEVICE_TESTS = f"""#!{sys.executable}
import os, sys
open(os.environ["MADE"] + "/tested", "w").write(os.environ.get("LD_LIBRARY_PATH", ""))
open(os.environ["MADE"] + "/model", "w").write(os.environ["TOME_GPU_MODEL"])
open(sys.argv[2].split(":", 1)[1], "w").write(REPORT)
"""
NINJA = """#!/bin/sh
for target; do case $target in tools/* | tests/*)
  mkdir -p $MADE/build/${target%/*}
  cp $MADE/programs/${target##*/} $MADE/build/$target
esac; done
"""
DEVICE_TEST = "tests/unit/test_cuda_device"


class MadeUp(tempfile.TemporaryDirectory):
    """A tree in which bench/gpu.sh is the real one, and what it builds and runs is made up. `report` is what
    the device tests find."""

    def __init__(self, report):
        super().__init__()
        self.report = json.dumps(report)

    def __enter__(self):
        self.root = Path(super().__enter__())
        for name in ("build_jobs.sh", "bench/gpu.sh", "bench/gpu", "bench/cpu"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (self.root / name).parent.mkdir(exist_ok=True)
            copy(ROOT / name, self.root / name)
        (self.root / "bench/gpu/peer.py").write_text(PEER)
        made_up_modules(self.root / "modules")
        made_up_data(self.root / "data")
        self.ninja(f"build {DEVICE_TEST}: cpp_LINKER a.o\n")
        write_program(self.root / "setup.sh", "mkdir -p $MADE/build; cp $MADE/build.ninja $MADE/build\n")
        write_program(self.root / "programs/tome", OURS)
        write_program(self.root / f"programs/{Path(DEVICE_TEST).name}", DEVICE_TESTS.replace("REPORT", repr(self.report)))
        write_program(self.root / "bin/ninja", NINJA)
        return self

    def ninja(self, text):
        (self.root / "build.ninja").write_text(text)

    def command(self, *arguments, **environment):
        environment = {"MADE": self.root, "PYTHON": sys.executable, "PYTHONPATH": self.root / "modules",
                       "TOME_SHARED_DATA": self.root / "data",
                       "PATH": f"{self.root}/bin:{os.environ['PATH']}"} | environment
        return ["env", *(f"{key}={value}" for key, value in environment.items()), str(self.root / "bench/gpu.sh"),
                "--repeats", "3", "--rounds", "2", *arguments]

    def rows(self, out="build/bench-results/gpu-made-up-1"):
        return [json.loads(line) for line in (self.root / f"{out}.jsonl").read_text().splitlines()]

    def cut_short(self, number, after, *arguments, **environment):
        """Status, stdout and stderr of a run that gets a signal once it said `after`."""
        with open(self.root / "said", "w") as said:
            process = subprocess.Popen(self.command(*arguments, **environment), stdout=subprocess.PIPE, stderr=said)
        end = time.monotonic() + 50
        while after not in (self.root / "said").read_text() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)  # the engine that stops has been asked
        process.send_signal(number)
        out = process.communicate(timeout=50)[0].decode()
        return process.returncode, out, (self.root / "said").read_text()

    def left_behind(self):
        """Peers that still run."""
        states = []
        for pid in (self.root / "pids").read_text().split():
            with contextlib.suppress(OSError):
                states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        return [state for state in states if state not in "ZX"]
