"""Short device tests under compute-sanitizer, one tool after the other; then 'N passed, N failed[, N skipped]'.

usage: sanitize.py BUILD COMPUTE_SANITIZER

Called by tests/run.sh --gpu --sanitize. Each case counts once for each tool. What a tool said is in
BUILD/meson-logs/sanitizer-TOOL.txt, and shown where it found something. Exits with 1 if anything failed or
nothing passed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from count_results import read_cases, read_skip_reasons

TOOLS = ("memcheck", "synccheck", "racecheck")  # the slowest last
# Every kernel, on little: each access is watched.
TESTS = ":".join(["Device.AKernelRuns", "Device.LayerNormEqualsTheDefinition", "*CasesOnDevice.*",
                  "ShortForwardOnDevice.*", "SessionOnDevice.PatchesAreTheCpus"])
TIMEOUT_S = 900  # of each tool
FOUND = 77  # its status where the tool found something; GoogleTest's own is 1
MOST_LINES = 60


def run_tool(sanitizer, tool, program, log, report):
    """What went wrong, in words; None where nothing did."""
    command = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), program, f"--gtest_filter={TESTS}",
               f"--gtest_output=xml:{report}"]
    try:
        with open(log, "wb") as said:
            running = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        return f"cannot run: {error}"
    try:
        status = running.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"had not ended after {TIMEOUT_S} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # nor may the program stay behind, on the device
            os.killpg(running.pid, signal.SIGKILL)
    if status == FOUND:
        return "found errors"
    return f"ended with status {status}" if status else None


def results_of(report):
    """GoogleTest's report; an empty one where there is none."""
    try:
        return ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return ElementTree.Element("testsuites")


def main():
    build, sanitizer = Path(sys.argv[1]).resolve(), sys.argv[2]
    program = build / "tests/unit/test_cuda_device"
    total, reasons = [0, 0, 0], {}  # passed, failed, skipped
    for tool in TOOLS:
        log, report = (build / "meson-logs" / f"sanitizer-{tool}.{ending}" for ending in ("txt", "xml"))
        log.parent.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)  # results of an earlier run must not be counted again
        begun = time.monotonic()
        wrong = run_tool(sanitizer, tool, program, log, report)
        results = results_of(report)
        counts = [sum(count[kind] for count in read_cases(results).values()) for kind in range(3)]
        if not wrong and not any(counts):
            wrong = "ran no test"
        if wrong:
            counts[1] = max(counts[1], 1)
            print(*log.read_text(errors="replace").splitlines()[-MOST_LINES:], sep="\n")
        total = [sum(pair) for pair in zip(total, counts)]
        reasons |= read_skip_reasons(results, [])
        took = f"{time.monotonic() - begun:.0f} s"
        print(f"{tool}: {wrong or 'found nothing'}, {took}; all that it said: {log}", flush=True)
    for reason in reasons:
        print(f"skipped: {reason}")
    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
