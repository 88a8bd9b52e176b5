"""The device tests that bench/gpu.sh runs before it measures, and what their results must say."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


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
