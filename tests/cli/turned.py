"""Films and pictures as phones record them: lying, with a tag that says how to turn them."""

import struct

ONE = 1 << 16
# a, b, c, d of the matrix for so many degrees clockwise.
TURNS = {0: (ONE, 0, 0, ONE), 90: (0, ONE, -ONE, 0), 180: (-ONE, 0, 0, -ONE), 270: (0, -ONE, ONE, 0)}
# The same of frames that are mirrored first, left to right.
TURNS |= {f"mirrored-{degrees}": (-a, -b, c, d) for degrees, (a, b, c, d) in TURNS.items()}
# Where a camera that pans left seems to go then.
SEEN = {0: "pan-left", 90: "tilt-up", 180: "pan-right", 270: "tilt-down"}
SEEN |= {
    "mirrored-0": "pan-right", "mirrored-90": "tilt-down", "mirrored-180": "pan-left", "mirrored-270": "tilt-up"
}  # fmt: skip
MATRIX_AT = 40  # of a track header of version 0, behind its type


def turned_film(film, turn):
    """The bytes of an MP4 file with that one of TURNS in its track header, instead of none."""
    data = film.read_bytes()
    at = data.index(b"tkhd") + 4
    assert data[at] == 0, "version 0"
    at += MATRIX_AT
    assert struct.unpack_from(">9i", data, at) == (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    a, b, c, d = TURNS[turn]
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return data[:at] + matrix + data[at + len(matrix) :]


def turned_picture(picture, orientation):
    """The bytes of a JPEG file with that EXIF orientation: 3 is half a turn, 6 a quarter clockwise."""
    data = picture.read_bytes()
    assert data[:2] == b"\xff\xd8"
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
