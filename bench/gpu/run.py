"""Correctness, then forward passes of ours and of timm in turns on a GPU. Called by bench/gpu.sh."""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cpu")]

from measure import Peer, PeerFailed, row_of  # noqa: E402
from table import add_ratios, peak_of, table  # noqa: E402

SCHEDULES = {"vit_small_patch16_224": ["0", "8", "13", "16"], "vit_base_patch16_224": ["0", "8", "13", "16"],
             "vit_large_patch16_224": ["0", "8"], "vit_large_patch16_384": ["0", "23"],
             "video_vit_large": ["0", "65"]}


def fail(text):
    print(f"gpu.sh: {text}", file=sys.stderr)
    sys.exit(2)


def one_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def skip_reason(output, name):
    """GoogleTest's report does not say why a test was skipped; its output does."""
    found = re.search(rf"RUN +\] {re.escape(name)}\n.*?: Skipped\n(.*?)\n", output, re.DOTALL)
    return found[1].strip() if found else "no reason given"


def check_results(report, output):
    """What the device tests' report and output say, as one line. Refuses unless parity and a model ran."""
    tests = {f"{suite['name']}.{test['name']}": test
             for suite in report["testsuites"] for test in suite["testsuite"]}
    failed = [name for name, test in tests.items() if test.get("failures")]
    if failed:
        fail(f"{len(failed)} device tests failed, first {failed[0]}: no measurement of wrong results")
    skipped = [name for name, test in tests.items() if test["result"] != "COMPLETED"]
    if len(skipped) == len(tests):
        fail(f"no usable GPU: {skip_reason(output, skipped[0]) if skipped else 'the report is empty'}")
    # The first is LibTorch's operators on the device; of our kernels, only the second says anything.
    for suite, what in [("ParityOnDevice.", "parity with the reference"),
                        ("KernelParityOnDevice.", "our kernels' parity with the reference"),
                        ("ModelOnDevice.", "a real model")]:
        if not any(name.startswith(suite) and name not in skipped for name in tests):
            why = next((skip_reason(output, name) for name in skipped if name.startswith(suite)), "no such test")
            fail(f"{what} was not checked ({why}): no result without it")
    return f"{len(tests) - len(skipped)} device tests passed, parity and a model among them, {len(skipped)} skipped"


def run_device_tests(arguments):
    environment = os.environ | {"TOME_SHARED_DATA": str(arguments.data)}
    if arguments.model:
        environment["TOME_GPU_MODEL"] = str(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run([arguments.device_test, "--gtest_filter=*Device.*", f"--gtest_output=json:{report}"],
                              env=environment, capture_output=True, text=True)
        if not report.exists():
            fail(f"the device tests ended without a report: {one_line(done.stderr or done.stdout)}")
        return check_results(json.loads(report.read_text()), done.stdout)


def import_or_fail(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fail(f"{sys.executable} has no {name} ({one_line(str(error))}): PYTHON=... names one with torch and timm")


def device_facts(arguments, tests):
    torch, timm = import_or_fail("torch"), import_or_fail("timm")
    if not torch.cuda.is_available():
        fail("torch finds no CUDA device: a torch built for CUDA is needed")
    device = torch.cuda.get_device_name(0)
    query = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                           capture_output=True, text=True)
    driver = query.stdout.splitlines()[0].strip() if query.returncode == 0 else "unknown"
    return {"device": device, "torch": torch.__version__, "timm": timm.__version__, "driver": driver,
            "precision": arguments.precision, "peak_tflops": arguments.peak_tflops or peak_of(device), "tests": tests,
            "rounds": arguments.rounds, "repeats": arguments.repeats}


def run_ours(tome, cell, repeats, runs):
    command = [tome, "bench", "--arch", cell["model"], "--r", ",".join(SCHEDULES[cell["model"]]), "--batch",
               str(cell["batch"]), "--precision", cell["precision"], "--repeats", str(repeats), "--warmup", "3",
               "--device", "cuda", "--profile", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerFailed(one_line(done.stderr))
    for row in json.loads(done.stdout):
        runs.setdefault(row["r"], []).append(row)


def our_rows(cell, runs):
    rows = []
    for spec, found in runs.items():
        wanted = ("gflops", "flops_saved", "tokens_last", "kernels", "operations")
        extra = {key: found[-1][key] for key in wanted if key in found[-1]}
        row = row_of(cell, "gst-tome", spec, [run["ms_median"] for run in found], extra)
        row["ms_min"] = round(min(run["ms_min"] for run in found), 3)
        row["ms_max"] = round(max(run["ms_max"] for run in found), 3)
        rows.append(row)
    return rows


def error_row(cell, engine, r, error):
    return {"engine": engine, "model": cell["model"], "batch": cell["batch"], "precision": cell["precision"],
            "r": r, "error": str(error)}


def say(cell, what):
    """What a run that is cut short has to show."""
    print(f"gpu.sh: {cell['model']}:{cell['batch']} {what}", file=sys.stderr, flush=True)


def start_peer(cell, kind, seconds):
    """A peer that is ready, or the row that says why it is not."""
    peer = Peer(kind, [sys.executable, str(HERE / "peer.py"), kind, cell["model"], str(cell["batch"]),
                       cell["precision"]])
    timer = threading.Timer(seconds, peer.process.kill)
    timer.start()
    started = time.monotonic()
    try:
        peer.ready()
        say(cell, f"{kind} ready after {time.monotonic() - started:.0f} s")
        return peer
    except PeerFailed as error:
        late = time.monotonic() - started >= seconds
        return error_row(cell, kind, "0", f"not ready after {seconds:.0f} s" if late else error)
    finally:
        timer.cancel()


def start_peers(cells, kinds, seconds):
    """Peers of each cell, by the cell's number. They compile beside one another; the runs that count
    are alone on the device."""
    asked = [(i, kind) for kind in kinds for i in range(len(cells))]
    with ThreadPoolExecutor(len(cells)) as pool:
        ready = pool.map(lambda which: start_peer(cells[which[0]], which[1], seconds), asked)
        peers = {i: [] for i in range(len(cells))}
        for (i, _), peer in zip(asked, ready):
            peers[i].append(peer)
    return peers


def measure(cell, started, tome, rounds, repeats):
    """Rows of one model and batch. What does not fit the device's memory is a row with an error."""
    rows = [row for row in started if isinstance(row, dict)]
    peers, ours = [peer for peer in started if not isinstance(peer, dict)], {}
    try:
        for _ in range(rounds):
            for peer in peers:
                peer.run(repeats)
                say(cell, f"{peer.engine} {peer.times[-1]:.3f} ms")
            run_ours(tome, cell, repeats, ours)
    except (PeerFailed, OSError, ValueError) as error:  # a peer that ended answers nothing
        rows.append(error_row(cell, "a round", "all", error))
    for peer in peers:
        peer.close()
    rows += [row_of(cell, peer.engine, "0", peer.times) for peer in peers if peer.times]
    rows += our_rows(cell, ours)
    gflops = next((row["gflops"] for row in rows if row["r"] == "0" and "gflops" in row), None)
    for row in rows:
        if gflops and row["engine"] in ("eager", "compile") and "error" not in row:
            row["gflops"] = gflops
    return rows


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
    parser.add_argument("--model", type=Path, help="a checkpoint folder to check results with")
    parser.add_argument("--data", type=Path, default=os.environ.get("TOME_SHARED_DATA", ROOT / "../shared/data"),
                        help="a folder with parity/ and models/")
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
    parser.add_argument("--out", type=Path, help="without ending: .jsonl and .md are written")
    arguments = parser.parse_args()
    if arguments.model and not arguments.model.is_dir():
        fail(f"--model: no folder {arguments.model}")
    arguments.peers = arguments.peers.split(",")
    unknown = [kind for kind in arguments.peers if kind not in ("compile", "eager")]
    if unknown:
        fail(f"--peers: found '{unknown[0]}', expected compile, eager or both")
    arguments.cells = [{"model": model, "batch": int(batch), "precision": arguments.precision}
                       for model, batch in asked_cells(arguments)]
    return arguments


def main():
    arguments = parse_arguments()
    tests = run_device_tests(arguments)
    facts = device_facts(arguments, tests)
    name = re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-")
    out = arguments.out or HERE.parent / "results" / f"gpu-{name}"
    rows = []
    for i, cell in enumerate(arguments.cells):
        if i % arguments.together == 0:
            peers = start_peers(arguments.cells[i:i + arguments.together], arguments.peers, arguments.ready_seconds)
        done = measure(cell, peers[i % arguments.together], arguments.tome, arguments.rounds, arguments.repeats)
        add_ratios(done, facts["peak_tflops"])
        for row in done:
            print(json.dumps(row | {"device": facts["device"]}), flush=True)
        rows += done
        # After each cell, so that a run that is cut short leaves what it has.
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".jsonl").write_text("".join(json.dumps(row | facts) + "\n" for row in rows))
        out.with_suffix(".md").write_text(table(rows, facts))


if __name__ == "__main__":
    main()
