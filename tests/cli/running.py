"""A script that goes on until it is stopped, and what it has printed so far."""

import json
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path

from tap import Skip

PATIENCE = 60  # seconds for what takes one or two on a quiet machine


def needs_build():
    if not (Path(os.environ["TOME_BUILD"]) / "gst-plugin" / "libgsttomeclassify.so").exists():
        raise Skip("no build in TOME_BUILD")


def ends_quietly_without_its_reader(*command):
    """After a line or more, by the signal that a closed pipe sends, and without a word."""
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:  # fmt: skip
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == -signal.SIGPIPE
        assert process.stderr.read() == b""


class Running:
    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.results, self.words = queue.Queue(), queue.Queue()
        self.seen = []  # of stderr
        for stream, kept in ((self.process.stdout, self.results), (self.process.stderr, self.words)):
            threading.Thread(target=self.read, args=(stream, kept), daemon=True).start()

    @staticmethod
    def read(stream, kept):
        for line in stream:
            kept.put(line)

    def next_result(self):
        try:
            return json.loads(self.results.get(timeout=PATIENCE))
        except queue.Empty:
            raise AssertionError(f"no result; it said {self.said()}") from None

    def wait_for_results(self, count, *streams):
        """Until each of `streams` has printed `count` more results."""
        missing = dict.fromkeys(streams, count)
        while any(missing.values()):
            stream = self.next_result()["stream"]
            if missing.get(stream):
                missing[stream] -= 1

    def forget_results(self):
        while not self.results.empty():
            self.results.get()

    def wait_for_words(self, *words):
        """Until a line on stderr has all of `words`."""
        while not (self.seen and all(word in self.seen[-1] for word in words)):
            try:
                self.seen.append(self.words.get(timeout=PATIENCE))
            except queue.Empty:
                raise AssertionError(f"no line with {words} among {self.seen}") from None

    def said(self):
        while not self.words.empty():
            self.seen.append(self.words.get())
        return "".join(self.seen)

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
