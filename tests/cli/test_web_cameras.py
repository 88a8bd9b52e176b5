"""pipelines/cameras.sh on cameras that speak HTTP."""

import tempfile
from pathlib import Path

from program import DATA, ROOT, VIT_TINY, assert_one_error_line, needs, run
from rtsp_server import PYTHON
from running import PATIENCE, Running, needs_build
from web_camera import (FlvCamera, HttpCamera, Playlist, Quiet, flv_of_ball, launch, needs_elements,
                        segments_of_ball, serving)
import tap

CAMERAS = ROOT / "pipelines" / "cameras.sh"
PICTURE = DATA / "images" / "dali-extra" / "swan-3584559_640.jpg"
FILM = DATA / "clips" / "scenes" / "skiing.mp4"
ALL_FRAMES = ("--late-policy", "process", "--interval", "2", "--top-k", "1")
GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")


def test_an_http_camera_is_found_again():
    needs_build()
    needs(VIT_TINY, PICTURE)
    HttpCamera.picture = PICTURE.read_bytes()
    with serving(HttpCamera) as port:
        address = f"yard=http://127.0.0.1:{port}/video.cgi?size=640"
        with Running(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address) as cameras:
            for _ in range(2):
                cameras.wait_for_results(3, "yard")
                cameras.wait_for_words("yard", "connecting again")
                cameras.seen.clear()
                cameras.forget_results()
            assert cameras.stop() == 0, cameras.said()


class SmallCamera(HttpCamera):
    """For longer than anybody waits."""

    pictures = 10000


def test_an_http_camera_of_small_pictures():
    """Of which a second brings far less than the 2 MB after which decodebin expects no other stream."""
    needs_build()
    needs(VIT_TINY)
    needs_elements("jpegenc")
    with tempfile.TemporaryDirectory() as folder:
        launch(f"videotestsrc num-buffers=1 ! jpegenc ! filesink location={folder}/small.jpg".split())
        SmallCamera.picture = (Path(folder) / "small.jpg").read_bytes()
    with serving(SmallCamera) as port:
        address = f"yard=http://127.0.0.1:{port}/video.cgi"
        with Running(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address) as cameras:
            cameras.wait_for_results(3, "yard")
            assert cameras.stop() == 0, cameras.said()


def test_an_http_recording_ends():
    """Its address says as little as a camera's would."""
    needs_build()
    needs(VIT_TINY, FILM)

    class HttpFilm(Quiet):
        def do_GET(self):
            self.send("video/mp4", FILM.read_bytes())

    with serving(HttpFilm) as port:
        address = f"film=http://127.0.0.1:{port}/recordings?number=7"
        status, out, err = run(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address, timeout=PATIENCE)
    assert status == 0 and "connecting again" not in err and out, (status, err)


class Refusing(Quiet):
    """Says why in words of which a terminal would become red, and its window get another name."""

    def do_GET(self):
        self.wfile.write("HTTP/1.0 404 \x1b]0;owned\x07\x1b[31mgrün\x9b1m\u202e\r\n\r\n".encode())


def test_the_words_of_a_server_are_no_commands_to_a_terminal():
    needs_build()
    needs_elements("souphttpsrc")
    words = " ]0;owned  [31mgrün 1m "
    with serving(Refusing) as port:
        status, out, err = run(CAMERAS, f"film=http://127.0.0.1:{port}/clip.mp4", timeout=PATIENCE)
        assert (status, out, err) == (1, "", f"cameras.sh: film: {words}\n"), (status, out, err)
        with Running(CAMERAS, f"yard=http://127.0.0.1:{port}/live") as cameras:
            cameras.wait_for_words(f"yard: {words}; connecting again")
            assert cameras.stop() == 0, cameras.said()
    needs(VIT_TINY)
    detect = [ROOT / "pipelines" / "detect-then-classify.sh", "--model", VIT_TINY]
    with serving(Refusing) as port:
        assert_one_error_line(run(*detect, f"http://127.0.0.1:{port}/clip.mp4", timeout=PATIENCE), f": {words}\n")


class OddCamera(HttpCamera):
    """Once it has hung up, sends what nobody decodes, once."""

    odd = []

    def do_GET(self):
        if self.odd and self.odd.pop() == "GIF":
            self.begin("image/gif")
            self.wfile.write(GIF)
        else:
            super().do_GET()


def test_a_camera_that_sends_something_else_for_a_while():
    needs_build()
    needs(VIT_TINY, PICTURE)
    OddCamera.picture = PICTURE.read_bytes()
    OddCamera.odd = ["GIF", "pictures"]
    with serving(OddCamera) as port:
        address = f"yard=http://127.0.0.1:{port}/video.cgi"
        with Running(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address) as cameras:
            cameras.wait_for_words("yard", "image/gif", "connecting again")
            cameras.forget_results()
            cameras.wait_for_results(3, "yard")
            assert cameras.stop() == 0, cameras.said()


def test_what_never_sent_a_video_is_left():
    needs_build()
    needs(VIT_TINY)
    OddCamera.odd = ["GIF"]
    with serving(OddCamera) as port:
        address = f"yard=http://127.0.0.1:{port}/video.cgi"
        status, out, err = run(CAMERAS, "--model", VIT_TINY, address, timeout=PATIENCE)
    assert status == 1 and out == "" and "image/gif" in err and "connecting" not in err, (status, out, err)


def test_a_playlist_that_stops_is_connected_to_again():
    """Its packager writes an end into it, which a recording has too."""
    needs_build()
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as folder:
        playlist = Playlist(segments_of_ball(20, folder))
    with serving(playlist.handler()) as port:
        address = f"gate=http://127.0.0.1:{port}/live.m3u8"
        with Running(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address) as cameras:
            cameras.wait_for_words("gate", "connected")
            playlist.stop()
            cameras.wait_for_words("gate", "connecting again")
            # What is left there is no news, however often it is asked for.
            cameras.wait_for_words("gate", "connecting again in 4 s")
            playlist.go_on()
            cameras.forget_results()
            cameras.wait_for_words("gate: connected")
            cameras.wait_for_results(8, "gate")
            assert cameras.stop() == 0, cameras.said()


def test_a_playlist_that_has_an_end_is_a_recording():
    needs_build()
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as folder:
        playlist = Playlist(segments_of_ball(4, folder))
    playlist.stop()
    with serving(playlist.handler()) as port:
        address = f"http://127.0.0.1:{port}/recorded.m3u8"
        status, out, err = run(CAMERAS, "--model", VIT_TINY, *ALL_FRAMES, address, timeout=PATIENCE)
    assert status == 0 and out and "connecting again" not in err, (status, err)


def test_a_camera_whose_clock_is_slow():
    """All frames come late, after hours of a real one, here after six seconds."""
    needs_build()
    needs(VIT_TINY)
    with tempfile.TemporaryDirectory() as folder:
        FlvCamera.film = flv_of_ball(40, folder)
    FlvCamera.late_by = staticmethod(lambda stamp: min(stamp, 6) * 0.1)
    with serving(FlvCamera) as port:
        address = f"gate=http://127.0.0.1:{port}/live"
        with Running(CAMERAS, "--model", VIT_TINY, "--top-k", "1", address) as cameras:
            times = [0]
            while times[-1] < 30:
                times.append(cameras.next_result()["pts"])
                assert times[-1] >= times[-2], "it connected again"
            # Of 100 frames. Behind a sink whose time stands, one in 1.2 s.
            assert sum(time > 20 for time in times) > 50, times
            assert cameras.stop() == 0, cameras.said()


MOVED = """
import sys
sys.path.insert(0, sys.argv[1])
from pace import Pace

class Sink:  # as much of one as Pace touches
    def __init__(self):
        self.props, self.ts_offset = self, 0
    def add_probe(self, *_):
        pass

lateness, seconds, forward = eval("lambda n: " + sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
sink = Sink()
pace = Pace(sink, sink)
pace.start(follows=True)
begin = sink.ts_offset
for second in range(seconds):
    for frame in range(10 * second, 10 * second + 10):
        pace.note(lateness(frame) * 10**9 - (sink.ts_offset - begin))
    pace.second_passed(forward * 10**9)
print((sink.ts_offset - begin) / 10**9)
"""


def moved(lateness, seconds=40, forward=0.05):
    """How far a sink's time moves, in seconds, when frame n, 10 in a second, is late by `lateness`."""
    needs_build()
    status, out, err = run(PYTHON, "-c", MOVED, ROOT / "pipelines", lateness, seconds, forward)
    assert status == 0, err
    return float(out)


def test_time_moves_behind_a_clock_that_is_slow():
    assert 0.2 < moved("0.05 + n * 1e-5") < 0.3
    assert moved("-0.05") == 0


def test_overload_moves_no_time():
    """Frames come late behind each forward, and in time before the next."""
    assert moved("0.8 - n % 20 * 0.1") == 0
    assert moved("5 - n % 100 * 0.1", seconds=100, forward=1.5) == 0


def test_time_moves_behind_segments_that_come_late():
    assert 2 < moved("2 - n % 40 * 0.1") < 3  # 4 s each
    assert moved("9 - n * 0.1 if n < 90 else -0.05") == 0, "it came late once"


if __name__ == "__main__":
    tap.main(globals())
