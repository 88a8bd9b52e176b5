"""A camera for the tests: an RTSP server on this machine, in a process of its own.

As a program, `rtsp_server.py PORT PATH...` serves a moving ball at 10 frames/s at each path, until
it is killed.
"""

import os
import socket
import subprocess
import sys
import time

from tap import Skip

FRAMES_PER_S = 10
# Debian's own interpreter has GStreamer's bindings.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RtspServer:
    """Serves `paths` on a port that stays the same when it is started again."""

    def __init__(self, *paths):
        self.paths = paths
        self.port = free_port()
        self.process = None
        self.start()

    def url(self, path):
        return f"rtsp://127.0.0.1:{self.port}{path}"

    def start(self):
        self.process = subprocess.Popen(
            [PYTHON, __file__, str(self.port), *self.paths],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            error = self.process.communicate()[1].strip().splitlines()
            if "Namespace GstRtspServer not available" in "".join(error):
                raise Skip("gir1.2-gst-rtsp-server-1.0 is not installed")
            raise AssertionError(error)

    def kill(self):
        """Gone from one moment to the next, without a word to its clients."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def serve(port, paths):
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for path in paths:
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(
            "( videotestsrc is-live=true pattern=ball ! "
            f"video/x-raw,format=I420,width=160,height=120,framerate={FRAMES_PER_S}/1 ! "
            "jpegenc ! rtpjpegpay name=pay0 )"
        )
        factory.set_shared(True)
        server.get_mount_points().add_factory(path, factory)
    for _ in range(50):
        # After a kill the port may take a moment to be free again.
        if server.attach(None):
            break
        time.sleep(0.1)
    else:
        sys.exit(f"port {port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
