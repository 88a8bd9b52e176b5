"""The device tests that bench/gpu.sh runs before it measures, and what their results must say."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CAMERA_STATE = Path(__file__).resolve().parents[2] / "models" / "camera-state"  # which the project ships
TIMEOUT_S = 900  # they take some minutes
MOST_SHOWN, MOST_LINES = 5, 20


def fail(text):
    print(f"gpu.sh: {text}", file=sys.stderr)
    sys.exit(2)


def one_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def check_data(arguments):
    """Refuses what the device tests would only skip, after minutes, and no measurement may follow."""
    for path in (arguments.data / "parity" / f"matching.{ending}" for ending in ("json", "safetensors")):
        if not path.exists():
            fail(f"there is no {path} to check our kernels' parity with the reference with: see --data in docs/gpu.md")


def model_of(arguments):
    """The one that is given, or that of --data, or ours."""
    theirs = arguments.data / "models" / "vit_tiny_patch16_224"
    return arguments.model or (theirs if theirs.exists() else CAMERA_STATE)


def skip_reason(output, name):
    """GoogleTest's report does not say why a test was skipped; its output does."""
    found = re.search(rf"RUN +\] {re.escape(name)}\n.*?: Skipped\n(.*?)\n", output, re.DOTALL)
    return found[1].strip() if found else "no reason given"


def last_begun(output):
    begun = re.findall(r"^\[ RUN +\] (.*)$", output, re.MULTILINE)
    return f"in {begun[-1]}" if begun else "before the first test"


def how_ended(code):
    if code >= 0:
        return f"ended with status {code}"
    known = [number.name for number in signal.Signals if number == -code]
    return f"ended by {known[0] if known else 'a signal'} (status {code})"


def show_failures(failed):
    """What the report says of the first of the tests that failed."""
    for name, test in list(failed.items())[:MOST_SHOWN]:
        lines = [line for each in test["failures"] for line in each["failure"].rstrip().splitlines()]
        more = len(lines) - MOST_LINES
        shown = lines[:MOST_LINES] + ([f"... and {more} lines more"] if more > 0 else [])
        print(f"gpu.sh: {name} failed:", *(f"    {line}" for line in shown), sep="\n", file=sys.stderr)


def check_results(report, output, log):
    """What the device tests' report and output say, as one line. Refuses unless parity and a model ran."""
    tests = {f"{suite['name']}.{test['name']}": test
             for suite in report["testsuites"] for test in suite["testsuite"]}
    failed = {name: test for name, test in tests.items() if test.get("failures")}
    if failed:
        show_failures(failed)
        fail(f"{len(failed)} device tests failed, first {next(iter(failed))}: no measurement of wrong results; all "
             f"that they said: {log}")
    skipped = [name for name, test in tests.items() if test["result"] != "COMPLETED"]
    if len(skipped) == len(tests):
        fail(f"no usable GPU: {skip_reason(output, skipped[0]) if skipped else 'the report is empty'}")
    # Not ParityOnDevice: that is LibTorch's operators on the device, which a LibTorch for the CPU has not.
    for suite, what in [("KernelParityOnDevice.", "our kernels' parity with the reference"),
                        ("ModelOnDevice.", "a real model")]:
        if not any(name.startswith(suite) and name not in skipped for name in tests):
            why = next((skip_reason(output, name) for name in skipped if name.startswith(suite)), "no such test")
            fail(f"{what} was not checked ({why}): no result without it")
    return f"{len(tests) - len(skipped)} device tests passed, parity and a model among them, {len(skipped)} skipped"


def run_logged(command, environment, log):
    """The status, None if it had to be stopped, and that in words. What it says is in `log` after a crash, too:
    GoogleTest flushes what it says of each test."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as said:
            code = subprocess.run(command, env=environment, stdout=said, stderr=subprocess.STDOUT,
                                  timeout=TIMEOUT_S).returncode
        return code, how_ended(code)
    except subprocess.TimeoutExpired:
        return None, f"had not ended after {TIMEOUT_S} s"
    except OSError as error:
        fail(f"the device tests cannot run: {error}")


def run_device_tests(arguments):
    model = model_of(arguments)
    environment = os.environ | {"TOME_SHARED_DATA": str(arguments.data), "TOME_GPU_MODEL": str(model)}
    log = arguments.device_log
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [arguments.device_test, "--gtest_filter=*Device.*", f"--gtest_output=json:{path}"]
        code, ended = run_logged(command, environment, log)
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError):  # none, or a part of one
            report = None
    output = log.read_text(errors="replace")
    if report is not None and code in (0, 1):
        accepted = check_results(report, output, log)
        if code == 0:
            return f"{accepted}; the model was {model.resolve().name}"
    for line in output.splitlines()[-MOST_LINES:]:
        print(f"    {line}", file=sys.stderr)
    fail(f"the device tests {ended}, {last_begun(output)}; all that they said: {log}")
