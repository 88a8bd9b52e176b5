"""Prints 'N passed, N failed[, N skipped]' for the last `meson test`, single cases counted.

usage: count_results.py MESON_LOGS EXIT_STATUS

Exits with 1 if anything failed: a case, a program that ended badly, or meson itself.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BAD = {"FAIL", "TIMEOUT", "INTERRUPT", "ERROR", "UNEXPECTEDPASS"}


def read_cases(logs):
    """Counts of passed, failed and skipped cases, by name of the test program."""
    file = logs / "testlog.junit.xml"
    counts = {}
    if not file.exists():
        return counts
    for suite in ElementTree.parse(file).getroot().iter("testsuite"):
        for case in suite.findall("testcase"):
            kind = 0
            if case.find("failure") is not None or case.find("error") is not None:
                kind = 1
            elif case.find("skipped") is not None:
                kind = 2
            # Cases of a GoogleTest program are in suites named PROGRAM.SUITE, those of other programs
            # in a suite PROGRAM, or in one for the project where the case is the program.
            counts.setdefault(suite.get("name"), [0, 0, 0])[kind] += 1
    return counts


def read_programs(logs):
    """Results of whole programs: (name, result)."""
    file = logs / "testlog.json"
    if not file.exists():
        return []
    programs = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    return [(program["name"], program["result"]) for program in programs]


def main():
    logs, status = Path(sys.argv[1]), int(sys.argv[2])
    counts = read_cases(logs)
    passed, failed, skipped = (sum(count[kind] for count in counts.values()) for kind in range(3))
    bad = [name for name, result in read_programs(logs) if result in BAD]
    # A program that crashed has written no failure of its own.
    failed = max(failed, len(bad))
    if status != 0 and failed == 0:
        failed = 1
    for name in bad:
        print(f"failed: {name}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
