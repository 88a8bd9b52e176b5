"""Cameras for the tests that speak HTTP, on this machine."""

import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from running import PATIENCE
from tap import Skip


@contextmanager
def serving(handler):
    """An HTTP server of this machine's own: its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def begin(self, media_type, *headers):
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def send(self, media_type, data):
        """All of it, with its length."""
        self.begin(media_type, ("Content-Length", str(len(data))))
        try:
            self.wfile.write(data)
        except OSError:
            pass  # it looks elsewhere in the file, or nobody reads any more

    def log_message(self, *_):
        pass


class HttpCamera(Quiet):
    """Sends so many pictures as MJPEG, and hangs up."""

    pictures, picture = 20, b""

    def do_GET(self):
        self.begin("multipart/x-mixed-replace; boundary=frame")
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.picture)}\r\n\r\n"
        try:
            for _ in range(self.pictures):
                self.wfile.write(head.encode() + self.picture + b"\r\n")
                time.sleep(0.04)
        except OSError:
            pass  # nobody reads any more


class FlvCamera(Quiet):
    """Sends a film as FLV, each frame later by `late_by` of its time stamp, both in seconds."""

    film, late_by = b"", staticmethod(lambda stamp: 0)

    def do_GET(self):
        self.begin("video/x-flv")
        begin = time.monotonic()
        try:
            at = 13  # the header, and the size of nothing
            self.wfile.write(self.film[:at])
            while at < len(self.film):
                size = int.from_bytes(self.film[at + 1 : at + 4], "big")
                stamp = int.from_bytes(self.film[at + 4 : at + 7], "big") / 1000
                time.sleep(max(0, begin + stamp + self.late_by(stamp) - time.monotonic()))
                self.wfile.write(self.film[at : at + 11 + size + 4])
                at += 11 + size + 4
        except OSError:
            pass  # nobody reads any more


class Playlist:
    """HLS of segments of a second each, of which one more is shown each second, until it stops."""

    def __init__(self, segments):
        self.segments = segments
        self.go_on()

    def go_on(self):
        self.begin, self.stopped = time.monotonic(), None

    def stop(self):
        self.stopped = time.monotonic()

    def text(self):
        shown = 4 + int((self.stopped or time.monotonic()) - self.begin)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
        for number in range(min(shown, len(self.segments))):
            lines += ["#EXTINF:1.0,", f"{number}.ts"]
        return "\n".join(lines + ["#EXT-X-ENDLIST"] * (self.stopped is not None) + [""])

    def handler(self):
        class Handler(Quiet):
            def do_GET(handler):
                name = handler.path.rpartition("/")[2]
                if name.endswith(".ts"):
                    handler.send("video/mp2t", self.segments[int(name[:-3])])
                else:
                    handler.send("application/vnd.apple.mpegurl", self.text().encode())

        return Handler


def needs_elements(*names):
    for name in names:
        if subprocess.run(["gst-inspect-1.0", "--exists", name], check=False).returncode:
            raise Skip(f"GStreamer's {name} is not installed")


def ball(seconds, rest, begin=0):
    """Of a pipeline: a moving ball, at 10 frames/s, through `rest`."""
    return (f"videotestsrc pattern=ball num-buffers={10 * seconds} timestamp-offset={begin * 10**9} ! "
            f"video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! {rest} ").split()


def launch(pipeline):
    subprocess.run(["gst-launch-1.0", "-q", *pipeline], check=True, capture_output=True, timeout=PATIENCE)


def flv_of_ball(seconds, folder):
    needs_elements("avenc_flv", "flvmux", "flvdemux", "avdec_flv")
    # With sound, or it is waited for.
    sound = f"audiotestsrc samplesperbuffer=1102 num-buffers={10 * seconds} ! audio/x-raw,rate=11025,channels=1 ! mux."
    launch([*ball(seconds, "avenc_flv ! mux."), *sound.split(),
            *f"flvmux name=mux streamable=true ! filesink location={folder}/ball.flv".split()])
    return (Path(folder) / "ball.flv").read_bytes()


def segments_of_ball(seconds, folder):
    """Of a second each."""
    needs_elements("openh264enc", "h264parse", "mpegtsmux", "hlsdemux", "tsdemux", "avdec_h264")
    files = [Path(folder) / f"{number}.ts" for number in range(seconds)]
    launch(part for number, file in enumerate(files)
           for part in ball(1, f"openh264enc ! h264parse ! mpegtsmux ! filesink location={file}", number))
    return [file.read_bytes() for file in files]
