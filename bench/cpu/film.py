"""A film in H.264 that looks like one: a camera moves over a textured picture, with some noise.
`film.py FILE WIDTH HEIGHT FRAMES`"""

import shutil
import subprocess
import sys

import cv2
import numpy as np

FRAMES_PER_S = 30
path, width, height, count = sys.argv[1], *map(int, sys.argv[2:])


def texture(random):
    """Noise of several sizes, in colour, with shapes that have edges."""
    size = (2 * height, 2 * width)
    picture = np.zeros((*size, 3), np.float32)
    for cells in (8, 32, 128, 512):
        small = random.normal(0, 40, (cells * 9 // 16, cells, 3)).astype(np.float32)
        picture += cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    picture = np.clip(picture + 128, 0, 255).astype(np.uint8)
    for _ in range(80):
        place = tuple(int(v) for v in random.integers(0, size[::-1]))
        colour = tuple(int(v) for v in random.integers(0, 256, 3))
        cv2.circle(picture, place, int(random.integers(20, 160)), colour, -1, cv2.LINE_AA)
    return picture


def frames():
    random = np.random.default_rng(1)
    picture = texture(random)
    noise = [random.normal(0, 2, (height, width, 3)).astype(np.int8) for _ in range(3)]
    for i in range(count):
        zoom = 1.2 + 0.3 * np.sin(i / 70)
        x, y = width * (0.5 + 0.3 * np.sin(i / 45)), height * (0.5 + 0.3 * np.cos(i / 60))
        view = cv2.warpAffine(picture, np.float32([[1 / zoom, 0, -x / zoom], [0, 1 / zoom, -y / zoom]]),
                              (width, height), flags=cv2.INTER_LINEAR)
        yield np.clip(view.astype(np.int16) + noise[i % 3], 0, 255).astype(np.uint8)


def encoder():
    for name, settings in (("x264enc", "bitrate=8000 speed-preset=veryfast"),
                           ("openh264enc", "bitrate=8000000 complexity=low gop-size=60")):
        found = subprocess.run(["gst-inspect-1.0", "--exists", name], check=False)
        if found.returncode == 0:
            return f"{name} {settings}"
    raise SystemExit("film.py: no H.264 encoder: install gstreamer1.0-plugins-bad (openh264enc) "
                     "or gstreamer1.0-plugins-ugly (x264enc)")


def main():
    if shutil.which("gst-launch-1.0") is None:
        raise SystemExit("film.py: gst-launch-1.0 not found: install gstreamer1.0-tools")
    line = (f"fdsrc ! rawvideoparse format=bgr width={width} height={height} framerate={FRAMES_PER_S}/1 ! "
            f"videoconvert ! {encoder()} ! h264parse ! mp4mux ! filesink location={path}")
    process = subprocess.Popen(["gst-launch-1.0", "-q", *line.split()], stdin=subprocess.PIPE)
    for frame in frames():
        process.stdin.write(frame.tobytes())
    process.stdin.close()
    if process.wait() != 0:
        raise SystemExit("film.py: the film could not be encoded")


if __name__ == "__main__":
    main()
