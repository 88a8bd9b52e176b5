"""How the tests run the programs: paths from the environment that meson sets."""

import os
import subprocess
from pathlib import Path

from tap import Skip

ROOT = Path(os.environ["TOME_SOURCE_ROOT"])
TOME = os.environ["TOME_PROGRAM"]
DATA = Path(os.environ["TOME_SHARED_DATA"])
VIT_TINY = DATA / "models" / "vit_tiny_patch16_224"


def needs(*files):
    """Skips the test where one of the shared files is not there."""
    for file in files:
        if not Path(file).exists():
            raise Skip(f"shared test data not found: {file}")


def run(*command, timeout=300, **options):
    """Runs a command; returns status, stdout and stderr."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def tome(*arguments, **options):
    return run(TOME, *arguments, **options)


def tome_ok(*arguments, **options):
    status, out, err = tome(*arguments, **options)
    assert status == 0, f"status {status}: {err}"
    return out


def demo_clip(folder, frames):
    """A film of so many frames."""
    video = Path(folder) / f"{frames}.avi"
    tome_ok("demo-clip", video, "--motion", "pan-left", "--frames", frames)
    return video


def ppm(path, grey=128):
    """A small grey picture."""
    Path(path).write_bytes(b"P6 32 32 255\n" + bytes([grey]) * 3072)
    return path


def needs_eight_bits():
    """Skips the test where the processor multiplies no bytes."""
    status, _, err = tome("bench", "--arch", "vit_tiny_patch16_224", "--repeats", "1", "--precision", "int8",
                          "--device", "cpu", "--r", "0")
    if status != 0:
        assert "needs a processor with AVX2" in err, err
        raise Skip("this processor has no products in 8 bits")


def assert_one_error_line(result, *words):
    """Exit status 2, nothing on stdout, one line on stderr that has all of `words`."""
    status, out, err = result
    assert status == 2, f"status {status}, stderr {err!r}"
    assert out == "", f"stdout {out!r}"
    assert err.endswith("\n") and err.count("\n") == 1, f"stderr {err!r}"
    for word in words:
        assert str(word) in err, f"{word!r} is not in {err!r}"
