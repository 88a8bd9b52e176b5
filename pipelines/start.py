"""Starts a program of this folder: `start.py MODULE SCRIPT ARGUMENTS...`, where SCRIPT is what people call it.

Small, and what it imports first too: where run_python cannot hold signals, Ctrl-C is a traceback until
Stop is there."""
import sys

from stopping import Stop, end_process

stop = Stop(sys.argv[2])

import fcntl
import os
import signal
from importlib import import_module

from output import say


def can_write(file):
    try:
        return fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def main(module, script, arguments):
    if not can_write(1):
        say(script, "standard output is closed, or open to read alone: expected one that takes results")
        return 2
    try:
        program = import_module(module)
    except (ImportError, ValueError) as error:  # ValueError: a library that gi does not know
        say(script, f"{error}; GStreamer's bindings for Python are missing, setup.sh installs them")
        return 2
    # Behind what is ours, so that another Python's libraries are not taken for it; elements in Python, as
    # a detector's, may need them.
    sys.path += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return program.main(script, arguments, stop)


status = main(sys.argv[1], sys.argv[2], sys.argv[3:])
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    end_process(status)
sys.exit(status)
