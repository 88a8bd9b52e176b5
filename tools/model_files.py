"""Files of a model folder, each of which takes the place of an older one when it is complete.
convert_checkpoint.py writes them."""

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import time
from pathlib import Path

DTYPES = {"torch.float64": "F64", "torch.float32": "F32", "torch.float16": "F16",
          "torch.bfloat16": "BF16"}
TAKEN = set()  # numbers of part files
BEGAN = int(time.time())


@contextlib.contextmanager
def replaced(path):
    """A file to write, which takes the place of `path` when it is complete. Named as core/ names its own
    (Note [Files that are being written])."""
    remove_leftovers(path)
    with new_part(path) as out:
        part = Path(out.name)
        try:
            yield out
            out.flush()
            os.fsync(out.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def new_part(path):
    """Opens one, not a file or a link that is there: in a container another process had our number."""
    for number in range(len(TAKEN), len(TAKEN) + 10_000):
        TAKEN.add(number)
        with contextlib.suppress(FileExistsError):
            return open(path.with_name(f"{path.name}.part{os.getpid()}-{number}"), "xb")
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def remove_leftovers(path):
    """Of processes that were killed. What cannot be listed or removed is left."""
    with contextlib.suppress(OSError):
        for found in path.parent.iterdir():
            named = re.fullmatch(re.escape(path.name) + r"\.part([1-9][0-9]{0,8})-([0-9]+)", found.name)
            if named and not is_written(found, int(named[1]), int(named[2])):
                found.unlink()


def is_written(file, process, number):
    """Whether the process that writes it may still be there."""
    if process == os.getpid():
        return number in TAKEN or file.lstat().st_mtime >= BEGAN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True


def copy(source, target):
    """Unless that is where it is already."""
    if not (target.exists() and target.samefile(source)):
        with open(source, "rb") as content, replaced(target) as out:
            shutil.copyfileobj(content, out)


def write_safetensors(path, tensors):
    """The format is eight bytes of length, a JSON header, and the tensors' bytes."""
    header, place, data = {"__metadata__": {"format": "pt"}}, 0, []
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().resolve_neg().contiguous()
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[str(tensor.dtype)], "shape": list(tensor.shape),
                        "data_offsets": [place, place + size]}
        place += size
        data.append((tensor, size))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replaced(path) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor, size in data:
            out.write(ctypes.string_at(tensor.data_ptr(), size))
