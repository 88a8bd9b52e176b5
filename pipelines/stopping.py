"""Ctrl-C and SIGTERM: what ends a program, from its first line on."""
import os
import signal
import threading

TAG_VIDEO = "tag-video.sh"


def status_of_stop(script, number):
    """Cameras have no other end; of a file, the lines so far are not all."""
    return -number if script == TAG_VIDEO else 0


def end_process(status):
    """At once, from any thread. A status that is -SIGNAL is an end as that signal brings it, quietly: a shell
    sees 128 + SIGNAL, and that a script was interrupted."""
    if status < 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        signal.pthread_kill(threading.get_ident(), -status)
        status = 128 - status
    os._exit(status)


class Stop:
    """Hears SIGINT and SIGTERM in a thread, and ends the process.

    Not in Python's handlers, which wait while C++ works, as while a model opens; and what one raises may
    land where PyGObject makes a type, which aborts then. All threads that start later have both signals
    blocked, too, and so have children that are not started with `restore`.
    """

    def __init__(self, script):
        self.script = script
        # A stop that ends the process never gives it back: who waits for it then ends, too.
        self.lock = threading.Lock()
        self.undoing = []  # functions; add to them with `lock` held
        self.tell = None
        # What is ignored, as SIGINT is in a shell's background jobs, stays so.
        heard = {number for number in (signal.SIGINT, signal.SIGTERM)
                 if signal.getsignal(number) != signal.SIG_IGN}
        signal.pthread_sigmask(signal.SIG_BLOCK, heard)
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        self.heard = heard
        if heard:
            threading.Thread(target=self.hear, daemon=True).start()

    def hear(self):
        while True:
            status = status_of_stop(self.script, signal.sigwait(self.heard))
            with self.lock:
                tell, self.tell = self.tell, None
                if tell is None:
                    self.end(status)
                tell(status)

    def end(self, status):
        try:
            for undo in reversed(self.undoing):
                undo()
        finally:
            end_process(status)

    def hand_to(self, tell):
        """From now on the first stop calls tell(status), in a thread, and only the second ends the process."""
        with self.lock:
            self.tell = tell

    def restore(self):
        """In a child."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.heard)
