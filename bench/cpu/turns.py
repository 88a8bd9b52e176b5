"""A peer's side of the turns that measure.py's Peer gives: a number of runs comes in on stdin, their
milliseconds go out as JSON."""

import json
import sys
import time


def answer_turns(run, warm_up):
    """Runs `warm_up` times, says so, then answers until stdin ends."""
    for _ in range(warm_up):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        run()  # wakes the caches and threads after the pause
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps(times), flush=True)
