"""Correctness, then forward passes of ours and of timm in turns on a GPU. Called by bench/gpu.sh."""

import argparse
import importlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu")]

from device_tests import check_data, fail, one_line, run_device_tests  # noqa: E402
from measure import UNRECORDED, Peer, PeerFailed, row_of  # noqa: E402
from record import Record  # noqa: E402
from table import add_ratios, peak_of  # noqa: E402

SCHEDULES = {"vit_small_patch16_224": ["0", "8", "13", "16"], "vit_base_patch16_224": ["0", "8", "13", "16"],
             "vit_large_patch16_224": ["0", "8"], "vit_large_patch16_384": ["0", "23"],
             "video_vit_large": ["0", "65"]}


def peer_modules():
    """torch and timm, of which a wrong PYTHON has none, or none for GPUs."""
    modules = []
    for name in ("torch", "timm"):
        try:
            modules.append(importlib.import_module(name))
        except (ImportError, OSError) as error:  # OSError: a library of torch's that does not load
            fail(f"{sys.executable} has no {name} ({one_line(str(error))}): PYTHON=... names one with torch and timm")
    torch = modules[0]
    if torch.version.cuda is None:
        fail(f"torch {torch.__version__} of {sys.executable} is built without CUDA: PYTHON=... names another")
    return modules


def lend_cublas_lt(torch):
    """Our programs take cuBLASLt from their LibTorch or a toolkit. One for the CPU has none, and this Python's torch
    has: the last place where they look."""
    places = [Path(torch.__file__).parent / "lib", *(Path(folder) / "nvidia/cu13/lib" for folder in sys.path)]
    found = [str(place) for place in places if (place / "libcublasLt.so.13").exists()]
    before = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    if found:
        os.environ["LD_LIBRARY_PATH"] = ":".join([*before, found[0]])


def driver_version():
    try:
        query = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                               capture_output=True, text=True)
    except OSError:
        return "unknown"
    lines = query.stdout.splitlines()
    return lines[0].strip() if query.returncode == 0 and lines else "unknown"


def version_of(tree):
    """The commit, where git knows it: not in a copy without .git, which may lie in a repository of others."""
    if not (tree / ".git").exists():
        return "unknown"
    try:
        said = subprocess.run(["git", "-C", tree, "describe", "--always", "--dirty"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return said.stdout.strip() or "unknown"


def device_facts(arguments, torch, timm, tests):
    if not torch.cuda.is_available():
        fail(f"torch {torch.__version__} finds no CUDA device, where the device tests found one")
    device = torch.cuda.get_device_name(0)
    return {"device": device, "torch": torch.__version__, "timm": timm.__version__, "driver": driver_version(),
            "precision": arguments.precision, "peak_tflops": arguments.peak_tflops or peak_of(device), "tests": tests,
            "rounds": arguments.rounds, "repeats": arguments.repeats,
            "version": arguments.version or version_of(ROOT)}


def say(cell, what):
    """What a run that is cut short has to show."""
    print(f"gpu.sh: {cell['model']}:{cell['batch']} {what}", file=sys.stderr, flush=True)


def run_ours(tome, cell, repeats):
    """Rows of `tome bench`, one for each schedule."""
    command = [tome, "bench", "--arch", cell["model"], "--r", ",".join(SCHEDULES[cell["model"]]), "--batch",
               str(cell["batch"]), "--precision", cell["precision"], "--repeats", str(repeats), "--warmup", "3",
               "--device", "cuda", "--profile", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerFailed(one_line(done.stderr))
    return json.loads(done.stdout)


def our_rows(cell, rounds):
    rows = []
    for found in zip(*rounds):
        wanted = ("gflops", "flops_saved", "tokens_last", "kernels", "operations")
        extra = {key: found[-1][key] for key in wanted if key in found[-1]}
        row = row_of(cell, "gst-tome", found[0]["r"], [run["ms_median"] for run in found], extra)
        row["ms_min"] = round(min(run["ms_min"] for run in found), 3)
        row["ms_max"] = round(max(run["ms_max"] for run in found), 3)
        rows.append(row)
    return rows


def error_row(cell, engine, r, error):
    return {"engine": engine, "model": cell["model"], "batch": cell["batch"], "precision": cell["precision"],
            "r": r, "error": str(error)}


class Begun:
    """Every peer's process, so that a run that is cut short leaves none on the device."""

    def __init__(self):
        self.peers, self.ended = [], threading.Event()

    def add(self, peer):
        self.peers.append(peer)
        if self.ended.is_set():  # another thread's end() may have missed it
            peer.process.kill()

    def end(self):
        self.ended.set()
        for peer in list(self.peers):
            peer.process.kill()


def start_peer(cell, kind, seconds, begun):
    """A peer that is ready, or the row that says why it is not."""
    peer = Peer(kind, [sys.executable, str(HERE / "peer.py"), kind, cell["model"], str(cell["batch"]),
                       cell["precision"]])
    begun.add(peer)
    late = threading.Event()

    def stop():
        late.set()
        peer.process.kill()

    timer = threading.Timer(seconds, stop)
    timer.start()
    started = time.monotonic()
    try:
        peer.ready()
        say(cell, f"{kind} ready after {time.monotonic() - started:.0f} s")
        return peer
    except PeerFailed as error:
        row = error_row(cell, kind, "0", f"not ready after {seconds:.0f} s" if late.is_set() else error)
        say(cell, f"{kind}: {row['error']}")
        return row
    finally:
        timer.cancel()


def start_peers(cells, kinds, seconds, begun):
    """Peers of each cell, by the cell's number. They compile beside one another; the runs that count
    are alone on the device."""
    asked = [(i, kind) for kind in kinds for i in range(len(cells))]
    with ThreadPoolExecutor(len(cells)) as pool:
        try:
            ready = pool.map(lambda which: start_peer(cells[which[0]], which[1], seconds, begun), asked)
            peers = {i: [] for i in range(len(cells))}
            for (i, _), peer in zip(asked, ready):
                peers[i].append(peer)
            return peers
        except BaseException:  # else the pool waits until each is ready
            pool.shutdown(wait=False, cancel_futures=True)
            begun.end()
            raise


def ask(cell, peer, repeats):
    """The error row of a peer that has ended, which answers nothing: what it said last."""
    try:
        peer.run(repeats)
        return None
    except (OSError, ValueError):
        peer.process.kill()
        peer.process.wait()
        peer.said.seek(0)
        return error_row(cell, peer.engine, "0", f"ended: {one_line(peer.said.read())}")


def close(peer):
    try:
        peer.close()
    except OSError:  # it ended before it read all that it was sent
        peer.process.kill()
        peer.process.wait()


def rows_so_far(cell, errors, peers, ours, arguments, peak):
    """Of whole rounds, in which each engine ran as often as the others. Before the first has ended: of what
    was answered, without ratios."""
    whole = len(ours)  # we come last in each round
    rows = list(errors)
    for peer in peers:
        times = peer.times[:whole * arguments.repeats] if whole else peer.times
        if times:
            rows.append(row_of(cell, peer.engine, "0", times))
    if whole:
        gflops = next((run["gflops"] for run in ours[0] if run["r"] == "0" and "gflops" in run), None)
        for row in rows:
            if gflops and "error" not in row:
                row["gflops"] = gflops
        rows += our_rows(cell, ours)
        add_ratios(rows, peak)
    if whole < arguments.rounds:
        note = f"{whole} of {arguments.rounds} rounds" if whole else f"in round 1 of {arguments.rounds}"
        rows = [row | {"unfinished": note} for row in rows]
    return rows


def measure(cell, started, arguments, peak, keep):
    """Gives `keep` the rows of one model and batch after each answer, since time may end before the next. What
    does not fit the device's memory is a row with an error: a peer's alone, or, as ratios are to ours, the end of
    the cell."""
    errors = [row for row in started if isinstance(row, dict)]
    peers, ours = [peer for peer in started if not isinstance(peer, dict)], []

    def keep_rows():
        keep(rows_so_far(cell, errors, peers, ours, arguments, peak))

    def turn_of(peer):
        failed = ask(cell, peer, arguments.repeats)
        if failed:
            errors.append(failed)
            peers.remove(peer)
            close(peer)
        keep_rows()
        say(cell, f"{peer.engine} " + (failed["error"] if failed else
                                       f"{statistics.median(peer.times[-arguments.repeats:]):.3f} ms"))

    try:
        keep_rows()
        for _ in range(arguments.rounds):
            for peer in list(peers):
                turn_of(peer)
            ours.append(run_ours(arguments.tome, cell, arguments.repeats))
            keep_rows()
            say(cell, "gst-tome " + ", ".join(f"r={row['r']} {row['ms_median']:.3f} ms" for row in ours[-1]))
    except (PeerFailed, ValueError) as error:
        errors.append(error_row(cell, "gst-tome", "all", error))
        say(cell, f"gst-tome {error}")
    finally:
        keep_rows()
    for peer in peers:
        close(peer)


def asked_cells(arguments):
    """(model, batch) in the order in which they are measured."""
    if arguments.cells:
        pairs = [cell.rpartition(":")[::2] for cell in arguments.cells.split(",")]
    else:
        models = arguments.models.split(",") if arguments.models else list(SCHEDULES)
        if arguments.quick:
            models = ["vit_base_patch16_224", "video_vit_large"]
        batches = arguments.batch or ("1,128" if arguments.quick else "1,8,32,128,256")
        pairs = [(model, batch) for model in models for batch in batches.split(",")]
    for model, batch in pairs:
        if model not in SCHEDULES:
            fail(f"found model '{model}', expected some of {', '.join(SCHEDULES)}")
        if not batch.isdigit() or int(batch) < 1:
            fail(f"found batch '{batch}', expected a positive number")
    return pairs


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench/gpu.sh")
    parser.add_argument("--tome", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--device-test", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--device-log", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path,
                        help="a checkpoint folder to check results with; default: that of --data, else "
                             "models/camera-state")
    parser.add_argument("--data", type=Path, default=os.environ.get("TOME_SHARED_DATA", ROOT / "../shared/data"),
                        help="a folder with parity/ and models/")
    parser.add_argument("--version", help="of what is measured; default: what git describe says of this tree")
    parser.add_argument("--quick", action="store_true", help="ViT-B and video ViT-L at batch 1 and 128")
    parser.add_argument("--models", help="by commas: " + ", ".join(SCHEDULES))
    parser.add_argument("--batch", help="by commas")
    parser.add_argument("--cells", help="in place of both, MODEL:BATCH by commas")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20, help="runs of each engine in a round")
    parser.add_argument("--peers", default="compile,eager", help="which PyTorch models run beside ours, by commas")
    parser.add_argument("--together", type=int, default=1,
                        help="cells whose PyTorch models get ready, and stay in memory, together")
    parser.add_argument("--ready-seconds", type=float, default=900, help="how long each may take for that")
    parser.add_argument("--peak-tflops", type=float, help="dense, of the precision; default: by the device's name")
    parser.add_argument("--out", type=Path, help="without ending: .jsonl and .md are written; default: "
                                                 "build/bench-results/gpu-NAME, after the device")
    parser.add_argument("--append", action="store_true",
                        help="keep earlier rows of --out, but for the cells (device, model, batch, precision) "
                             "measured again, which lose all their rows")
    arguments = parser.parse_args()
    if arguments.model and not arguments.model.is_dir():
        fail(f"--model: no folder {arguments.model}")
    check_data(arguments)
    arguments.peers = arguments.peers.split(",")
    unknown = [kind for kind in arguments.peers if kind not in ("compile", "eager")]
    if unknown:
        fail(f"--peers: found '{unknown[0]}', expected compile, eager or both")
    arguments.cells = [{"model": model, "batch": int(batch), "precision": arguments.precision}
                       for model, batch in asked_cells(arguments)]
    return arguments


def stop_on_signals():
    """So that what there is when time ends is written, and no process is left behind."""
    def stop(number, _):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # a second one would cut that short
        sys.exit(128 + number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)


def measure_cells(arguments, record, peak):
    begun = Begun()
    try:
        for i, cell in enumerate(arguments.cells):
            if i % arguments.together == 0:
                peers = start_peers(arguments.cells[i:i + arguments.together], arguments.peers,
                                    arguments.ready_seconds, begun)
            try:
                measure(cell, peers[i % arguments.together], arguments, peak, record.now)
            finally:
                record.end_cell()
    finally:
        begun.end()


def main():
    arguments = parse_arguments()
    stop_on_signals()
    torch, timm = peer_modules()  # before the tests, which take minutes
    if arguments.check_only:
        return
    lend_cublas_lt(torch)
    tests = run_device_tests(arguments)
    facts = device_facts(arguments, torch, timm, tests)
    name = re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-")
    record = Record(arguments.out or UNRECORDED / f"gpu-{name}", facts, arguments.append)
    measure_cells(arguments, record, facts["peak_tflops"])


if __name__ == "__main__":
    main()
