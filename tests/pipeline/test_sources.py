"""What pipelines/sources.py takes for a source, what it calls it, and what it refuses at once."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(os.environ["TOME_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests" / "cli"))
import tap  # noqa: E402
from program import DATA, VIT_TINY, assert_one_error_line, needs, run  # noqa: E402
from rtsp_server import PYTHON  # noqa: E402
from running import needs_build  # noqa: E402

SCRIPTS = ROOT / "pipelines"
NAMED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import sources
sources.Gst.init(None)
parser = sources.Parser("test")
print(json.dumps([name for name, _ in sources.name_sources(sys.argv[2:], parser)]))
"""


LIVE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import sources
sources.Gst.init(None)
named = sources.name_sources(sys.argv[2:], sources.Parser("test"))
print(json.dumps([[name, uri, sources.is_live(uri)] for name, uri in named]))
"""


def names(*texts, **options):
    return run(PYTHON, "-c", NAMED, SCRIPTS, *texts, **options)


def test_a_name_holds_no_password():
    for address, name in (
        ("rtsp://admin:secret@10.0.0.9", "10.0.0.9"),
        ("rtsp://admin:secret@10.0.0.9:554/live/1", "10.0.0.9/live/1"),
        ("rtsp://10.0.0.9/?user=admin&password=secret", "10.0.0.9/"),
        ("rtsp://10.0.0.9?user=admin&password=secret", "10.0.0.9"),
        ("rtsp://10.0.0.9/a/user=admin&password=secret&channel=1", "10.0.0.9/a"),
        ("rtsp://10.0.0.9/user=admin_password=secret_channel=1.sdp?real_stream", "10.0.0.9"),
        ("rtsp://admin:se@cret@10.0.0.9/live", "10.0.0.9/live"),
        ("rtsp://admin:top/secret@10.0.0.9/live", "10.0.0.9/live"),
        ("rtsp://admin:secret@[fe80::1]/live", "fe80::1/live"),
        ("gate=rtsp://admin:secret@10.0.0.9/live", "gate"),
        ("udp://:5000", "udp"),
    ):
        status, out, err = names(address)
        assert status == 0 and json.loads(out) == [name], (address, status, out, err)
    status, out, err = names("rtsp://a:b@h/x", "rtsp://c:d@h/x", "x=rtsp://h/y")
    assert json.loads(out) == ["h/x", "h/x-2", "x"], (out, err)


def test_a_file_is_called_what_it_is_called():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "my clip 100%.mp4"
        file.touch()
        (Path(folder) / "a:b.mp4").touch()  # not an address of the scheme a
        for text in (file, file.as_uri()):
            status, out, err = names(text)
            assert status == 0 and json.loads(out) == [file.name], (text, out, err)
        status, out, err = names("a:b.mp4", cwd=folder)
        assert status == 0 and json.loads(out) == ["a:b.mp4"], (out, err)


def test_a_name_before_the_longest_name_of_a_file():
    """Together they are longer than any file's."""
    with tempfile.TemporaryDirectory() as folder:
        file = 251 * "a" + ".mp4"
        (Path(folder) / file).touch()
        status, out, err = names(f"gate={file}", cwd=folder)
        assert status == 0 and json.loads(out) == ["gate"], (status, out, err)
    assert_one_error_line(names(300 * "a" + "=b"), "there is no file")


def test_what_is_live():
    for place, name, uri, live in (
        ("rtsp://a/b", "a/b", "rtsp://a/b", True),
        ("http://a/video.cgi?res=x.mp4", "a/video.cgi", "http://a/video.cgi?res=x.mp4", True),
        ("https://a.ts", "a.ts", "https://a.ts", True),
        ("http://a/live/index.m3u8", "a/live/index.m3u8", "http://a/live/index.m3u8", True),
        ("http://a/films/clip.MP4?token=1", "a/films/clip.MP4", "http://a/films/clip.MP4?token=1", False),
        ("/dev/video7", "/dev/video7", "v4l2:///dev/video7", True),
        ("door=/dev/v4l/by-id/usb-cam", "door", "v4l2:///dev/v4l/by-id/usb-cam", True),
        ("udp://:5000", "udp", "udp://0.0.0.0:5000", True),
        ("udp://@:5000", "udp", "udp://0.0.0.0:5000", True),
        ("udp://@239.1.1.1:5000", "239.1.1.1", "udp://@239.1.1.1:5000", True),
        ("v4l2:///dev/video7", "/dev/video7", "v4l2:///dev/video7", True),
        (Path(__file__).resolve().as_uri(), Path(__file__).name, Path(__file__).resolve().as_uri(), False),
    ):
        status, out, err = run(PYTHON, "-c", LIVE, SCRIPTS, place)
        if "no GStreamer plugin" in err:
            continue  # not everybody has those of http, v4l2 and MPEG-TS
        assert status == 0 and json.loads(out) == [[name, uri, live]], (place, out, err)
    status, out, err = run(PYTHON, "-c", LIVE, SCRIPTS, "file:///nonexistent/b.mp4")
    assert status == 2 and out == "" and "no file '/nonexistent/b.mp4'" in err, (out, err)


def test_the_stream_of_a_detector():
    needs_build()
    clip = DATA / "clips" / "scenes" / "skiing.mp4"
    needs(VIT_TINY, clip)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(clip, Path(folder) / "my clip.mp4")
        status, out, err = run(
            SCRIPTS / "detect-then-classify.sh", "--model", VIT_TINY, "--reclassify", "0", "my clip.mp4", cwd=folder
        )  # fmt: skip
    assert status == 0, err
    assert {json.loads(line)["stream"] for line in out.splitlines()} == {"my clip.mp4"}, out


def test_what_no_plugin_opens_is_refused_at_once():
    needs_build()
    for script, arguments in (
        ("cameras.sh", []), ("rtsp-camera.sh", []), ("detect-then-classify.sh", ["--model", "/"]),
    ):  # fmt: skip
        for address, words in (
            ("nosuchscheme://admin:secret@camera/live", ["camera/live: no GStreamer plugin for nosuchscheme://"]),
            ("rtsp:camera", ["rtsp://", "no address"]),
            ("rtsp://[camera", ["rtsp://", "no address"]),
        ):
            result = run(SCRIPTS / script, *arguments, address, timeout=60)
            assert_one_error_line(result, f"{script}: ", *words)
            assert "secret" not in result[2], result


def test_a_second_source_of_a_detector_is_not_repeated():
    needs_build()
    second = "rtsp://admin:s3cret@camera/live"
    result = run(SCRIPTS / "detect-then-classify.sh", "--model", "/", "a.mp4", second)
    assert_one_error_line(result, "unrecognized arguments: …@camera/live")
    assert "s3cret" not in result[2], result


def test_what_debian_has_is_named():
    """Where only GStreamer's own elements and those of UDP and RTSP are installed."""
    found = subprocess.run(
        ["pkg-config", "--variable=pluginsdir", "gstreamer-1.0"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not found:
        raise tap.Skip("no pkg-config that knows GStreamer's plugins")
    with tempfile.TemporaryDirectory() as folder:
        for plugin in ("coreelements", "udp", "rtsp"):
            (Path(folder) / f"libgst{plugin}.so").symlink_to(Path(found) / f"libgst{plugin}.so")
        few = os.environ | {"GST_PLUGIN_SYSTEM_PATH_1_0": folder, "GST_REGISTRY": f"{folder}/registry.bin",
                            "GST_PLUGIN_PATH": ""}  # fmt: skip
        soup = Path(found) / "libgstsoup.so"
        if soup.exists():
            (Path(folder) / soup.name).symlink_to(soup)
        for address, what in (
            *([("http://a/live/index.m3u8?token=1", "HLS (hlsdemux)")] if soup.exists() else []),
            ("srt://a:1", "srt://"), ("rtmp://a/b/c", "rtmp://"), ("udp://239.0.0.1:5000", "MPEG-TS (tsdemux)"),
        ):  # fmt: skip
            words = (f"no GStreamer plugin for {what}", "Debian has it in gstreamer1.0-plugins-bad")
            assert_one_error_line(names(address, env=few), *words)
        status, out, err = names("rtsp://a/b", env=few)
        assert status == 0 and json.loads(out) == ["a/b"], (out, err)


if __name__ == "__main__":
    tap.main(globals())
