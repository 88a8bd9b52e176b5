"""Says why cases of the last `meson test` were skipped, then 'N passed, N failed[, N skipped]'.

usage: count_results.py MESON_LOGS EXIT_STATUS

Exits with 1 if anything failed: a case, a program that ended badly, or meson itself.
"""

import collections
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BAD = {"FAIL", "TIMEOUT", "INTERRUPT", "ERROR", "UNEXPECTEDPASS"}


def read_suites(logs):
    """The root of meson's JUnit file; an empty one where it wrote none."""
    file = logs / "testlog.junit.xml"
    if not file.exists():
        return ElementTree.Element("testsuites")
    # A program's output may hold control characters, such as colours, which XML does not allow.
    return ElementTree.fromstring(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", file.read_text()))


def read_cases(suites):
    """Counts of passed, failed and skipped cases, by name of the test program."""
    counts = {}
    for suite in suites.iter("testsuite"):
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
    """What meson notes of each program: name, result, stdout."""
    file = logs / "testlog.json"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]


def read_skip_reasons(suites, programs):
    """How many cases gave which reason. Of GoogleTest meson keeps it, of TAP only the output has it."""
    # FILE:LINE, then the reason
    messages = [skipped.text for skipped in suites.iter("skipped")]
    reasons = [text.strip().split("\n", 1)[-1] for text in messages if text]
    for program in programs:
        reasons += re.findall(r"^ok \d+ .*# SKIP (.+)$", program.get("stdout", ""), re.MULTILINE)
    return collections.Counter(" ".join(reason.split()) for reason in reasons)


def main():
    logs, status = Path(sys.argv[1]), int(sys.argv[2])
    suites = read_suites(logs)
    counts = read_cases(suites)
    passed, failed, skipped = (sum(count[kind] for count in counts.values()) for kind in range(3))
    programs = read_programs(logs)
    bad = [program["name"] for program in programs if program["result"] in BAD]
    # A program that crashed has written no failure of its own.
    failed = max(failed, len(bad))
    if status != 0 and failed == 0:
        failed = 1
    for reason, count in read_skip_reasons(suites, programs).most_common():
        print(f"skipped, {count}: {reason}")
    for name in bad:
        print(f"failed: {name}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
