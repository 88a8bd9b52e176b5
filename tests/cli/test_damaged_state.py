"""`tome train` beside a state.safetensors that no training wrote: nothing in the folder changes."""

import json
import struct
import tempfile
from pathlib import Path

import tap
from program import assert_one_error_line, tome, tome_ok
from train_data import IMAGE, write_pictures


class State:
    """A file of tensors whose bytes and metadata can be changed."""

    def __init__(self, path):
        self.path = path
        whole = path.read_bytes()
        size = 8 + int.from_bytes(whole[:8], "little")
        self.header, self.numbers = json.loads(whole[8:size]), bytearray(whole[size:])

    def fill(self, name, number):
        """Each number of a tensor becomes the bytes `number`."""
        begin, end = self.header[name]["data_offsets"]
        self.numbers[begin:end] = number * ((end - begin) // len(number))

    def write(self):
        header = json.dumps(self.header).encode()
        self.path.write_bytes(len(header).to_bytes(8, "little") + header + self.numbers)


def trained(scratch):
    """A command that has trained a model into a folder; and the folder."""
    data, out = Path(scratch) / "data", Path(scratch) / "out"
    write_pictures(data, ["a", "b"])
    command = ["train", "--data", data, "--out", out, *IMAGE, "--eval-split", "", "--warmup", "0", "--steps", "3"]
    tome_ok(*command)
    return command, out


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_refused(command, folder, *words):
    before = contents(folder)
    result = tome(*command)
    assert_one_error_line(result, "state.safetensors", *words)
    assert contents(folder) == before, "a file was written"
    return result[2]


def test_numbers_that_are_none():
    with tempfile.TemporaryDirectory() as scratch:
        command, out = trained(scratch)
        good = (out / "state.safetensors").read_bytes()
        for part in ("weight", "average"):
            (out / "state.safetensors").write_bytes(good)
            state = State(out / "state.safetensors")
            for name in state.header:
                if name.startswith(part + "/"):
                    state.fill(name, struct.pack("<f", float("nan")))
            state.write()
            assert_refused(command, out, f"tensor '{part}/", "nan", "finite", "--out")


def test_steps_that_were_never_done():
    with tempfile.TemporaryDirectory() as scratch:
        command, out = trained(scratch)
        for steps in (-(2**62), -1, 4):
            state = State(out / "state.safetensors")
            state.fill("steps", struct.pack("<q", steps))
            state.write()
            assert_refused(command, out, "tensor 'steps'", str(steps), "expected 0 to 3")


def test_what_it_says_reaches_no_terminal_as_a_command():
    with tempfile.TemporaryDirectory() as scratch:
        command, out = trained(scratch)
        state = State(out / "state.safetensors")
        state.header["__metadata__"]["run.lr"] = "\x1b]0;owned\x07\n\u009b31m"
        state.write()
        said = assert_refused(command, out, "lr: found '\\x1b]0;owned\\x07 \\xc2\\x9b31m'")
        assert said[:-1].isprintable(), said


if __name__ == "__main__":
    tap.main(globals())
