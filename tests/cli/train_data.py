"""What the tests of `tome train` train: folders of a few small pictures or films, and models that take no time."""

from program import tome_ok

TINY = ["--size", "32", "--patch", "8", "--dim", "24", "--depth", "2", "--heads", "2"]
TINY += ["--frames", "4", "--batch", "4", "--r", "2", "--warmup", "2", "--threads", "1"]
IMAGE = ["--frames", "1", *TINY[: TINY.index("--frames")]]


def write_folder(folder):
    """Two small videos of two classes, each in both splits."""
    rows = ["file,label,split"]
    for motion in ("pan-left", "zoom-in"):
        name = f"{motion}.avi"
        tome_ok("demo-clip", folder / name, "--motion", motion, "--frames", "12", "--width", "64", "--height", "48")
        rows += [f"{name},{motion},train", f"{name},{motion},val"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def write_pictures(folder, labels):
    """One small picture of each label in a new folder; returns the rows of labels.csv."""
    folder.mkdir(exist_ok=True)
    rows = []
    for i, label in enumerate(labels):
        (folder / f"{i}.ppm").write_bytes(b"P6 24 24 255\n" + bytes([50 * i % 256, 90, 200]) * 576)
        rows.append(f'{i}.ppm,"{label}"')
    write_rows(folder, rows)
    return rows


def write_rows(folder, rows, header="file,label"):
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
