"""A test program of functions `test_*`, reported in the Test Anything Protocol, which meson counts."""

import sys
import traceback


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def main(namespace):
    """Runs the functions of `namespace` whose names start with test_, in order of definition."""
    tests = [item for name, item in namespace.items() if name.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
        except Skip as reason:
            print(f"ok {number} {test.__name__} # SKIP {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} {test.__name__}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
        else:
            print(f"ok {number} {test.__name__}", flush=True)
    sys.exit(1 if failed else 0)
