"""A peer's side of the turns that measure.py's Peer gives: a number of runs comes in on stdin, their
milliseconds go out as JSON."""

import json
import sys
import time


def answer_turns(run, warm_up, wake_seconds=0):
    """Runs `warm_up` times, says so, then answers until stdin ends. Before each answer's runs it runs
    at least once, and for `wake_seconds`."""
    for _ in range(warm_up):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        run()  # wakes the caches and threads after the pause
        while time.perf_counter() - begin < wake_seconds:
            run()
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps(times), flush=True)
